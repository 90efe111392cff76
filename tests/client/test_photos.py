"""Photos for a ConfigMap: small, upright, with valid keys, captions and masks."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from dreambooth_api.fields import Fields
from dreambooth_client.photos import MOST_BYTES, prepared, shared, size_of
from dreambooth_trainer.data.photos import load_photos


def picture(path: Path, size: tuple[int, int], mode: str = "RGB", **options: object) -> None:
    noise = Image.effect_noise((64, 64), 80).resize(size)
    Image.merge(mode, [noise] * len(mode)).save(path, **options)  # type: ignore[arg-type]


def opened(files: dict[str, bytes] | object, name: str) -> Image.Image:
    return Image.open(io.BytesIO(files[name]))  # type: ignore[index]


def test_photos_are_scaled_to_their_shorter_side_but_not_enlarged(tmp_path: Path) -> None:
    picture(tmp_path / "large.jpg", (1600, 1200))
    picture(tmp_path / "small.jpg", (300, 200))
    files, names = prepared(tmp_path, 512, square=False)
    assert names == {"large.jpg": "00-large.avif", "small.jpg": "01-small.jpg"}
    assert opened(files, "00-large.avif").size == (683, 512)
    assert files["01-small.jpg"] == (tmp_path / "small.jpg").read_bytes(), "it is not encoded again"


def test_a_photo_that_is_turned_by_its_metadata_is_stored_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "phone.jpg", (400, 300), exif=exif)
    files, _ = prepared(tmp_path, 512, square=False)
    stored = opened(files, "00-phone.avif")
    assert stored.size == (300, 400) and 0x0112 not in stored.getexif()


def test_names_become_valid_keys_and_captions_and_masks_follow(tmp_path: Path) -> None:
    picture(tmp_path / "mein Hund (1).JPG", (900, 900))
    picture(tmp_path / "mein Hund (1).mask.png", (900, 900), "RGB")
    (tmp_path / "mein Hund (1).txt").write_text("a {identifier} {class} on a sofa")
    picture(tmp_path / "二.png", (600, 700), "RGBA")
    row = {"file_name": "二.png", "text": "a {identifier} {class} outside", "more": 1}
    (tmp_path / "metadata.jsonl").write_text(f"\n{json.dumps(row)}\n")
    files, names = prepared(tmp_path, 512, square=False)
    assert set(files) == {
        "00-mein-Hund-1.avif",
        "00-mein-Hund-1.mask.png",
        "00-mein-Hund-1.txt",
        "01-photo.avif",
        "metadata.jsonl",
    }
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", name) for name in files)
    assert names["二.png"] == "01-photo.avif"
    assert opened(files, "00-mein-Hund-1.mask.png").size == (512, 512)
    assert opened(files, "01-photo.avif").mode == "RGBA", "its transparency is a mask"
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in files.items():
        (copy / name).write_bytes(content)
    photos, _ = load_photos(copy, Fields({"subject": {"class": "dog", "mask": "loss"}}, ()), 512)
    assert [photo.caption for photo in photos] == ["a {identifier} {class} on a sofa", "a {identifier} {class} outside"]
    assert all(photo.mask for photo in photos)


@pytest.mark.parametrize("size", [(700, 900), (900, 700), (701, 555)])
def test_the_training_sees_nearly_the_same_square(tmp_path: Path, size: tuple[int, int]) -> None:
    red, green = Image.linear_gradient("L").resize(size), Image.radial_gradient("L").resize(size)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    Image.merge("RGB", [red, green, red.transpose(Image.Transpose.ROTATE_180)]).save(tmp_path / "a" / "1.png")
    files, _ = prepared(tmp_path / "a", 256, square=True)
    ((name, content),) = files.items()
    (tmp_path / "b" / name).write_bytes(content)
    fields = Fields({"subject": {"class": "dog"}}, ())
    (before,), (after,) = (load_photos(tmp_path / folder, fields, 256)[0] for folder in ("a", "b"))
    assert before.image.size == after.image.size == (256, 256)
    difference = ImageStat.Stat(ImageChops.difference(before.image, after.image))
    assert max(difference.mean) < 1.5, difference.mean


@pytest.mark.slow
def test_five_photos_of_usual_base_models_fit(tmp_path: Path) -> None:
    """Noise that was enlarged four times, and has little colour, has about as many bits as a photo."""
    for number in range(5):
        noise = Image.effect_noise((400, 300), 60).resize((1600, 1200), Image.Resampling.BICUBIC)
        tinted = [Image.blend(noise, Image.new("L", noise.size, level), 0.2) for level in (40 * number, 128, 200)]
        Image.merge("RGB", tinted).save(tmp_path / f"{number}.jpg", quality=95)
    assert all(path.stat().st_size > 500_000 for path in tmp_path.iterdir())
    files, _ = prepared(tmp_path, 1024, square=True)
    shares = shared(files)
    assert len(shares) <= 3 and all(size_of(share) <= MOST_BYTES for share in shares)
    assert [name for share in shares for name in share] == list(files)
    assert {opened(files, name).size for name in files} == {(1024, 1024)}
