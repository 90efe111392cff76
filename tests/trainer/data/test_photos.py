"""Tests of dreambooth_trainer.data.photos, with photos of every kind that Pillow can write."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image, ImageCms

from dreambooth_api.failures import InvalidData
from dreambooth_api.fields import Fields
from dreambooth_trainer.data.photos import identities, inspect_photos, load_photos
from dreambooth_trainer.process.storage import sha256_of

pillow_heif.register_heif_opener()


def picture(width: int = 120, height: int = 80, seed: int = 0) -> Image.Image:
    """A picture whose left half is red and whose right half is blue, marked by a seed."""
    image = Image.new("RGB", (width, height), "red")
    image.paste((0, 0, 255), (width // 2, 0, width, height))
    image.putpixel((width // 2, height // 2), (seed, seed, seed))
    return image


def fields(resolution: int | None) -> Fields:
    return Fields({"training": {"resolution": resolution}}, ())


FIELDS = fields(64)


def messages(folder: Path, resolution: int | None = 64) -> dict[str, str]:
    """What is wrong, by the name of the file or folder."""
    problems = inspect_photos(folder, fields(resolution)).problems
    return {Path(str(problem.value)).name: problem.message for problem in problems}


def close(pixel: object, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    assert isinstance(pixel, tuple)
    return len(pixel) == 3 and all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


WHOLE = Fields({"subject": {"class": "dog", "crop": "none"}, "training": {"resolution": 64}}, ())


@pytest.mark.parametrize(
    ("size", "bucket"), [((120, 80), (80, 48)), ((80, 120), (48, 80)), ((90, 90), (64, 64)), ((300, 80), (80, 40))]
)
def test_a_photo_keeps_its_shape_without_a_crop(tmp_path: Path, size: tuple[int, int], bucket: tuple[int, int]) -> None:
    picture(*size).save(tmp_path / "a.png")
    (photo,), _ = load_photos(tmp_path, WHOLE, 64)
    assert (photo.size, photo.image.size) == (size, bucket)
    assert close(photo.image.getpixel((2, 2)), (255, 0, 0))
    assert close(photo.image.getpixel((bucket[0] - 3, 2)), (0, 0, 255))


def test_a_photo_without_a_crop_may_be_less_than_a_quarter_of_the_square(tmp_path: Path) -> None:
    picture(15, 30).save(tmp_path / "a.png")
    assert messages(tmp_path)["a.png"] == "is only 15x30 for a training resolution of 64"
    assert inspect_photos(tmp_path, WHOLE).problems == []
    picture(9, 18).save(tmp_path / "a.png")
    (problem,) = inspect_photos(tmp_path, WHOLE).problems
    assert problem.message == "is only 9x18 for a training resolution of 64"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif", "heic", "avif", "ppm"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    picture().save(tmp_path / f"a.{suffix}")
    (photo,), warnings = load_photos(tmp_path, FIELDS, 64)
    assert (photo.name, photo.size, photo.image.size, photo.image.mode) == (f"a.{suffix}", (120, 80), (64, 64), "RGB")
    assert close(photo.image.getpixel((5, 5)), (255, 0, 0), 40)
    assert close(photo.image.getpixel((60, 5)), (0, 0, 255), 40)
    assert warnings == []


def clear(mode: str) -> Image.Image:
    """A dark, completely transparent picture."""
    return Image.new("RGBA", (64, 64), (10, 20, 30, 0)).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(tmp_path: Path, mode: str) -> None:
    clear(mode).save(tmp_path / "a.png")
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert photo.image.getpixel((32, 32)) == (255, 255, 255)


def test_transparency_of_a_palette_becomes_white(tmp_path: Path) -> None:
    image = picture().convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "a.png", transparency=image.getpixel((2, 2)))
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert photo.image.getpixel((5, 5)) == (255, 255, 255)
    assert close(photo.image.getpixel((60, 5)), (0, 0, 255))


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "expected"),
    [
        ("L", 100, "png", (100, 100, 100)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 100 * 256, "png", (100, 100, 100)),
        ("I", 100 * 256, "tiff", (100, 100, 100)),
        ("CMYK", (0, 255, 255, 0), "tiff", (255, 0, 0)),
        ("P", 0, "png", (0, 0, 0)),
        ("YCbCr", (76, 85, 255), "tiff", (254, 0, 0)),
    ],
)
def test_modes(tmp_path: Path, mode: str, value: int, suffix: str, expected: tuple[int, int, int]) -> None:
    # Without compression, Pillow 12 writes TIFF files in YCbCr that are too short.
    Image.new(mode, (64, 64), value).save(tmp_path / f"a.{suffix}", compression="tiff_lzw")
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert close(photo.image.getpixel((32, 32)), expected, 2)


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter: left becomes top
    picture().save(tmp_path / "a.jpg", exif=exif)
    picture().save(tmp_path / "b.heic", exif=exif.tobytes())
    photos, _ = load_photos(tmp_path, FIELDS, 64)
    for photo in photos:
        assert photo.size == (80, 120)
        assert close(photo.image.getpixel((32, 2)), (255, 0, 0), 40)
        assert close(photo.image.getpixel((32, 61)), (0, 0, 255), 40)


def test_the_middle_square_is_kept(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), "white")
    image.paste((0, 128, 0), (100, 0, 200, 100))
    image.save(tmp_path / "a.png")
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    inner = photo.image.crop((3, 0, 61, 64))
    assert inner.getcolors() == [(58 * 64, (0, 128, 0))]


def test_colour_profiles_become_srgb(tmp_path: Path) -> None:
    plain = Image.new("RGB", (64, 64), (200, 50, 50))
    plain.save(tmp_path / "a.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    plain.save(tmp_path / "b.png", icc_profile=exchanged())
    plain.save(tmp_path / "c.png", icc_profile=b"damaged")
    photos, _ = load_photos(tmp_path, FIELDS, 64)
    expected = [(200, 50, 50), (50, 50, 200), (200, 50, 50)]
    assert [close(photo.image.getpixel((0, 0)), colour, 2) for photo, colour in zip(photos, expected, strict=True)] == [
        True
    ] * 3


def exchanged() -> bytes:
    """A colour profile that reads red as blue: the names of its two primaries are exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.find(b"rXYZ"), profile.find(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def linear_grey() -> bytes:
    """A colour profile of pictures in grey whose values are proportional to light."""
    curve = b"curv" + struct.pack(">4xIH2x", 1, 0x0100)
    white = b"XYZ " + struct.pack(">4xiii", *(round(part * 65536) for part in (0.9642, 1.0, 0.8249)))
    start = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + b"kTRC" + struct.pack(">II", start, 14) + b"wtpt" + struct.pack(">II", start + 16, 20)
    body = tags + curve + white
    size = 128 + len(body)
    head = struct.pack(">I4xI", size, 0x02100000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">iii", *(round(part * 65536) for part in (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + body


def cut_out(colour: tuple[int, int, int]) -> Image.Image:
    """A colour whose right half is transparent."""
    image = Image.new("RGBA", (64, 64), (*colour, 255))
    image.paste((*colour, 0), (32, 0, 64, 64))
    return image


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_profiles_of_cut_outs(tmp_path: Path, suffix: str) -> None:
    cut_out((255, 0, 0)).save(tmp_path / f"a.{suffix}", icc_profile=exchanged(), lossless=True)
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert close(photo.image.getpixel((10, 32)), (0, 0, 255))
    assert photo.image.getpixel((50, 32)) == (255, 255, 255)


def test_half_transparent_colours_are_mixed_after_their_conversion(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 128)).save(tmp_path / "a.png", icc_profile=exchanged())
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert close(photo.image.getpixel((10, 32)), (127, 127, 255))


@pytest.mark.parametrize("transparent", [False, True])
def test_profiles_of_palettes(tmp_path: Path, transparent: bool) -> None:
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 9, 9, 9])
    image.paste(1, (32, 0, 64, 64))
    image.save(tmp_path / "a.png", icc_profile=exchanged(), **({"transparency": 1} if transparent else {}))
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert close(photo.image.getpixel((10, 32)), (0, 0, 255))
    assert close(photo.image.getpixel((50, 32)), (255, 255, 255) if transparent else (9, 9, 9))


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_profiles_of_pictures_in_grey(tmp_path: Path, mode: str) -> None:
    image = Image.new("I;16", (64, 64), 55 * 256) if mode == "I;16" else Image.new("L", (64, 64), 55).convert(mode)
    image.save(tmp_path / "a.png", icc_profile=linear_grey())
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert close(photo.image.getpixel((32, 32)), (128, 128, 128))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_pictures_with_a_colour_profile(tmp_path: Path, mode: str) -> None:
    plain = Image.new("L", (64, 64), 255).convert(mode)
    plain.save(tmp_path / "a.png", icc_profile=exchanged())
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert close(photo.image.getpixel((32, 32)), (255, 255, 255))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_a_colour_profile_of_another_mode_is_ignored(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (64, 64), (200, 30, 30)).convert(mode, palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "a.tiff", icc_profile=linear_grey())
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert close(photo.image.getpixel((32, 32)), (200, 30, 30))


def test_photos_of_phones_with_further_frames_are_accepted(tmp_path: Path) -> None:
    depth = Image.new("RGB", (120, 80), "green")
    picture().save(tmp_path / "a.mpo", save_all=True, append_images=[depth])
    picture(seed=9).save(tmp_path / "b.heic", save_all=True, append_images=[depth])
    photos, _ = load_photos(tmp_path, FIELDS, 64)
    assert [close(photo.image.getpixel((5, 5)), (255, 0, 0), 40) for photo in photos] == [True, True]


def test_a_mounted_config_map_is_read(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11_23"
    data.mkdir()
    for index, name in enumerate(["b.png", "a.png"]):
        picture(seed=index).save(data / name)
        (tmp_path / name).symlink_to(Path("..data") / name)
    (tmp_path / "..data").symlink_to(data.name)
    photos, warnings = load_photos(tmp_path, FIELDS, 64)
    assert ([photo.name for photo in photos], warnings) == (["a.png", "b.png"], [])


def png_of(width: int, height: int) -> bytes:
    """The header of a large picture, without its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">II", zlib.crc32(header), 8) + b"IDAT"


def test_every_bad_file_is_named_at_once(tmp_path: Path) -> None:
    picture().save(tmp_path / "good.jpg")
    whole = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "notes.txt").write_text("my dog")
    (tmp_path / "noise.jpg").write_bytes(os.urandom(1000))
    for suffix in ("gif", "png", "webp", "tiff"):
        picture().save(tmp_path / f"moving.{suffix}", save_all=True, append_images=[picture(seed=200)])
    (tmp_path / "large.png").write_bytes(png_of(11_000, 10_000))
    (tmp_path / "huge.png").write_bytes(png_of(50_000, 50_000))
    picture(40, 15).save(tmp_path / "tiny.png")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")

    found = messages(tmp_path)

    assert "is damaged" in found.pop("truncated.jpg")
    assert found == {
        "empty.jpg": "is empty",
        "notes.txt": "is no picture, and the caption of none",
        "noise.jpg": "is no picture, or a damaged one",
        **{f"moving.{suffix}": "has more than one frame" for suffix in ("gif", "png", "webp", "tiff")},
        "large.png": "has more than 100 megapixels",
        "huge.png": "has more than 100 megapixels",
        "tiny.png": "is only 40x15 for a training resolution of 64",
        "gone.jpg": "is a link to a file that does not exist",
        "pipe.jpg": "is no regular file",
    }
    with pytest.raises(InvalidData, match=r"tiny\.png") as failure:
        load_photos(tmp_path, FIELDS, 64)
    assert len(failure.value.problems) == 13


@pytest.mark.parametrize("suffix", ["dng", "CR2", "nef", "arw"])
def test_raw_files_are_refused(tmp_path: Path, suffix: str) -> None:
    picture(160, 120).save(tmp_path / f"a.{suffix}", "TIFF")
    assert messages(tmp_path) == {f"a.{suffix}": "is a raw file, of which only a small preview could be read"}


@pytest.mark.parametrize("tag", [{254: 1}, {50706: b"\x01\x04\x00\x00"}])
def test_raw_files_are_known_by_their_content(tmp_path: Path, tag: dict[int, Any]) -> None:
    picture(160, 120).save(tmp_path / "a.tif", tiffinfo=tag)
    assert messages(tmp_path) == {"a.tif": "is a raw file, of which only a small preview could be read"}


def test_a_small_photo_passes_where_the_resolution_is_unknown(tmp_path: Path) -> None:
    picture(40, 15).save(tmp_path / "tiny.png")
    assert messages(tmp_path, resolution=None) == {}


def test_a_folder_without_photos(tmp_path: Path) -> None:
    assert messages(tmp_path) == {tmp_path.name: "holds no photo"}
    assert messages(tmp_path / "none") == {"none": "can't be read: No such file or directory"}
    (tmp_path / "file").touch()
    assert messages(tmp_path / "file") == {"file": "can't be read: Not a directory"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert messages(tmp_path) == {"a.png": "can't be read by this user"}


def test_a_photo_is_known_by_its_content_and_its_caption(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    (without,) = identities(tmp_path, FIELDS).values()
    assert without == sha256_of(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a {identifier} {class} at sea")
    (beside,) = identities(tmp_path, FIELDS).values()
    (photo,), _ = load_photos(tmp_path, FIELDS, 64)
    assert (photo.digest, photo.caption) == (beside, "a {identifier} {class} at sea")
    (tmp_path / "a.txt").unlink()
    stated = Fields({"subject": {"captions": {"a.png": "a {identifier} {class} at sea"}}}, ())
    assert list(identities(tmp_path, stated).values()) == [beside] != [without]


def test_warnings(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    picture().save(tmp_path / "b.bmp")
    picture(30, 30).save(tmp_path / "c.png")
    findings = inspect_photos(tmp_path, FIELDS)
    assert findings.problems == []
    assert findings.warnings == [
        "b.bmp shows the same picture as a.png; it counts twice in training",
        "c.png is 30x30 and is enlarged to 64x64",
    ]
