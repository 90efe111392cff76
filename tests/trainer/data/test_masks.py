"""Tests of masks: which ones are found, what fits a photo, and what remains after the crop."""

from pathlib import Path

import pytest
from PIL import Image

from dreambooth_api.fields import Fields
from dreambooth_trainer.data.photos import Findings, Photo, identities, inspect_photos, load_photos
from tests.trainer.data.scenes import scene

LOSS = Fields({"subject": {"class": "dog", "mask": "loss"}, "training": {"resolution": 64}}, ())
IGNORE = Fields({"subject": {"class": "dog"}, "training": {"resolution": 64}}, ())


def left_half(mode: str = "L", size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A mask of a subject in the left half."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask.convert(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scene(1, (160, 120)).save(tmp_path / "a.jpg")
    return tmp_path


def of_a(folder: Path) -> Photo:
    (photo,), _ = load_photos(folder, LOSS, 64)
    return photo


def is_left_half(mask: Image.Image | None) -> bool:
    assert mask is not None and (mask.mode, mask.size) == ("L", (64, 64))
    return mask.crop((0, 0, 31, 64)).getextrema() == (255, 255) and mask.crop((33, 0, 64, 64)).getextrema() == (0, 0)


def test_a_mask_has_the_shape_of_its_picture(folder: Path) -> None:
    left_half().save(folder / "a.mask.png")
    spec = {"subject": {"class": "dog", "mask": "loss", "crop": "none"}, "training": {"resolution": 64}}
    (photo,), _ = load_photos(folder, Fields(spec, ()), 64)
    assert photo.mask is not None and photo.mask.size == photo.image.size == (72, 56)
    assert photo.mask.crop((0, 0, 35, 56)).getextrema() == (255, 255)
    assert photo.mask.crop((37, 0, 72, 56)).getextrema() == (0, 0)


@pytest.mark.parametrize("name", ["a.mask.png", "a.jpg.mask.png", "a.MASK.PNG"])
@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_a_picture_next_to_the_photo(folder: Path, name: str, mode: str) -> None:
    left_half(mode).save(folder / name, "PNG")
    assert is_left_half(of_a(folder).mask)


def test_a_mask_of_another_size(folder: Path) -> None:
    left_half(size=(80, 60)).save(folder / "a.mask.png")
    assert is_left_half(of_a(folder).mask)


def test_transparent_parts(folder: Path) -> None:
    cut_out = scene(1, (160, 120))
    cut_out.putalpha(left_half())
    cut_out.save(folder / "a.png")
    (folder / "a.jpg").unlink()
    photo = of_a(folder)
    assert is_left_half(photo.mask)
    assert photo.image.getpixel((60, 32)) == (255, 255, 255)
    left_half(size=(160, 120)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "a.mask.png")
    assert not is_left_half(of_a(folder).mask), "a mask next to the photo comes first"


def test_a_mask_that_is_itself_cut_out(folder: Path) -> None:
    mask = Image.new("RGB", (160, 120), "black")
    mask.putalpha(left_half())
    mask.save(folder / "a.mask.png")
    assert is_left_half(of_a(folder).mask)


def test_a_mask_is_turned_as_its_photo(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter: left becomes top
    cut_out = scene(1, (160, 120))
    cut_out.putalpha(left_half())
    cut_out.save(folder / "a.png", exif=exif)
    (folder / "a.jpg").unlink()
    mask = of_a(folder).mask
    assert mask is not None and is_left_half(mask.transpose(Image.Transpose.ROTATE_90))


def test_grey_counts_in_part(folder: Path) -> None:
    Image.new("L", (160, 120), 51).save(folder / "a.mask.png")
    mask = of_a(folder).mask
    assert mask is not None and mask.getextrema() == (51, 51)


def of_folder(folder: Path, fields: Fields = LOSS) -> Findings:
    return inspect_photos(folder, fields)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (left_half(size=(120, 160)), "is 160x120, but its mask 120x160"),
        (
            Image.new("L", (160, 120), 1),
            "has a mask in which the subject is less than 1 % of the part of the photo that is used",
        ),
    ],
)
def test_masks_that_do_not_fit(folder: Path, mask: Image.Image, message: str) -> None:
    mask.save(folder / "a.mask.png")
    (problem,) = of_folder(folder).problems
    assert (problem.value, problem.message) == (str(folder / "a.jpg"), message)


def test_a_damaged_mask(folder: Path) -> None:
    (folder / "a.mask.png").write_bytes(b"no picture")
    (problem,) = of_folder(folder).problems
    assert problem.message == "has a mask that is no picture, or a damaged one"


def test_a_mask_of_no_photo(folder: Path) -> None:
    left_half().save(folder / "b.mask.png")
    for fields in (LOSS, IGNORE):
        problem = of_folder(folder, fields).problems[0]
        assert (problem.value, problem.message) == (str(folder / "b.mask.png"), "is the mask of no photo")


def test_no_masks_at_all(folder: Path) -> None:
    scene(1).convert("RGBA").save(folder / "opaque.png")
    (problem,) = of_folder(folder).problems
    assert problem.field == "spec.subject.mask"
    assert problem.message.startswith("has no effect, because no photo is transparent anywhere")


def test_masks_that_are_not_used(folder: Path) -> None:
    left_half().save(folder / "a.mask.png")
    (photo,), warnings = load_photos(folder, IGNORE, 64)
    assert (photo.name, photo.mask) == ("a.jpg", None)
    assert warnings == [
        "masks are not used: a.mask.png. Set subject.mask to loss to learn the subject without its background"
    ]


def test_photos_without_a_mask(folder: Path) -> None:
    scene(2).save(folder / "b.png")
    left_half().save(folder / "a.mask.png")
    assert of_folder(folder).warnings == ["photos without a mask are learned with their background: b.png"]


def test_masked_backgrounds_may_be_the_same(tmp_path: Path) -> None:
    for number in range(3):
        photo = Image.new("RGBA", (200, 200))
        photo.paste(scene(number, (80 + 30 * number, 120)), (50 - 10 * number, 30 + 15 * number))
        photo.save(tmp_path / f"{number}.png")
    assert len(of_folder(tmp_path, IGNORE).warnings) == 1
    assert of_folder(tmp_path) == Findings([], [])


def test_a_photo_is_known_by_its_mask_too(folder: Path) -> None:
    left_half().save(folder / "a.mask.png")
    (ignored,), (used,) = identities(folder, IGNORE).values(), identities(folder, LOSS).values()
    Image.new("L", (160, 120), 99).save(folder / "a.mask.png")
    assert list(identities(folder, IGNORE).values()) == [ignored]
    (changed,) = identities(folder, LOSS).values()
    assert len({ignored, used, changed}) == 3
    assert of_a(folder).digest == changed
