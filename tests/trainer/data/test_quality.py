"""Tests of dreambooth_trainer.data.quality."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from dreambooth_trainer.data.buckets import Size
from dreambooth_trainer.data.pictures import to_rgb
from dreambooth_trainer.data.quality import JUDGED, appearance, flaws, judged, near_duplicates, same_background
from tests.trainer.data.scenes import scene

EXAMPLES = Path(__file__).parents[3] / "examples"


def of_one(image: Image.Image, resolution: int | None = None, size: Size | None = None) -> list[str]:
    size = size or (resolution or JUDGED, resolution or JUDGED)
    return list(flaws("a.jpg", image.size, judged(image, size), size, final=resolution is not None))


def of_all(*images: Image.Image, size: Size = (JUDGED, JUDGED)) -> list[str]:
    photos = [appearance(f"{number}.jpg", judged(one, size)) for number, one in enumerate(images)]
    return [*near_duplicates(photos), *same_background(photos)]


def as_jpeg(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return Image.open(content)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1280, 720), (600, 600)])
def test_usual_photos_have_no_flaws(size: tuple[int, int]) -> None:
    assert of_one(scene(1, size), 64) == of_one(scene(1, size), 480) == of_one(scene(1, size)) == []


@pytest.mark.parametrize(("size", "share"), [((4000, 600), "15%"), ((400, 1000), "40%")])
def test_a_panorama_of_which_little_is_kept(size: tuple[int, int], share: str) -> None:
    (warning,) = of_one(scene(1, size))
    assert warning == (
        f"a.jpg is {size[0]}x{size[1]}, and its middle square, which is used, is only {share} of it. "
        "Crop it around the subject, or set subject.crop to none"
    )


def test_a_panorama_of_which_even_a_bucket_keeps_little() -> None:
    assert of_one(scene(1, (400, 1000)), 64, (40, 80)) == []
    (warning,) = of_one(scene(1, (400, 2000)), 64, (40, 80))
    assert warning == (
        "a.jpg is 400x2000, and only 40% of it is used: training pictures are at most 2 times as long as wide. "
        "Crop it around the subject"
    )


def test_a_photo_below_the_size_of_its_bucket() -> None:
    assert of_one(scene(1, (360, 480)), 512, (448, 576)) == ["a.jpg is 360x480 and is enlarged to 448x576"]
    assert of_one(scene(1, (480, 640)), 512, (448, 576)) == []


def test_a_photo_below_the_training_size() -> None:
    assert of_one(scene(1, (400, 300)), 512) == ["a.jpg is 400x300 and is enlarged to 512x512"]


BLURRED = "a.jpg looks blurred, and the model would learn that. Give a sharp photo instead"


@pytest.mark.parametrize("change", [as_jpeg, lambda image: ImageEnhance.Brightness(image).enhance(0.3)])
def test_a_blurred_photo(change: Callable[[Image.Image], Image.Image]) -> None:
    blurred = scene(2).filter(ImageFilter.GaussianBlur(4))
    assert of_one(change(blurred)) == [BLURRED]
    assert of_one(change(scene(2))) == []


def test_a_photo_is_judged_in_the_size_in_which_it_is_used() -> None:
    blurred = scene(2).filter(ImageFilter.GaussianBlur(4))
    assert of_one(blurred, 512) == [BLURRED]
    assert of_one(blurred, 64) == []
    assert of_one(blurred.resize((4096, 4096)), 1024) == [BLURRED]


def test_a_subject_that_is_sharp_before_a_blurred_background() -> None:
    photo = scene(2).filter(ImageFilter.GaussianBlur(8))
    photo.paste(scene(3, (220, 220)), (140, 180))
    assert of_one(photo) == []


def test_a_plain_picture_is_not_blurred() -> None:
    assert of_one(Image.new("RGB", (512, 512), "red")) == []


@pytest.mark.parametrize(
    "change",
    [
        as_jpeg,
        lambda image: image.resize((300, 300)),
        lambda image: image.crop((6, 4, 512, 512)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    ],
)
def test_photos_that_are_almost_the_same(change: Callable[[Image.Image], Image.Image]) -> None:
    (warning,) = of_all(scene(4), scene(5), change(scene(4)))
    assert warning.startswith("2.jpg shows almost the same as 0.jpg")


def test_a_series_of_photos_has_one_warning_for_each_further_one() -> None:
    series = [ImageChops.offset(scene(4), shift) for shift in range(4)]
    warnings = [line for line in of_all(*series) if "almost the same" in line]
    assert [line.partition(";")[0] for line in warnings] == [
        f"{number}.jpg shows almost the same as 0.jpg" for number in (1, 2, 3)
    ]


def test_plain_pictures_are_not_compared() -> None:
    assert of_all(Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")) == []


def before(background: Image.Image, seed: int) -> Image.Image:
    """A subject, which differs, before a background that a camera saw from almost the same place."""
    photo = ImageEnhance.Brightness(ImageChops.offset(background, 4 * seed)).enhance(1 + seed / 50)
    photo.paste(scene(100 + seed, (280, 300)), (100 + 10 * seed, 120))
    return photo


def test_the_same_background_in_all_photos() -> None:
    photos = [before(scene(6), seed) for seed in range(4)]
    (warning,) = of_all(*photos)
    assert warning.startswith("all photos have the same background")
    assert of_all(*photos[:2]) == []
    assert of_all(*photos[:3], before(scene(7), 3), before(scene(8), 4)) == []


def test_white_studio_backgrounds_are_the_same() -> None:
    photos = [Image.new("RGBA", (400, 400)) for _ in range(3)]
    for number, photo in enumerate(photos):
        photo.paste(scene(number, (200, 240)), (90, 100))
    (warning,) = of_all(*map(to_rgb, photos))
    assert warning.startswith("all photos have the same background")


@pytest.mark.parametrize("example", ["dog", "backpack", "teapot"])
def test_the_examples_have_no_flaws(example: str) -> None:
    config_map = next(yaml.safe_load_all((EXAMPLES / example / "dreamboothjob.yaml").read_text()))
    contents = [yaml.safe_load(f"!!binary {text}") for text in config_map["binaryData"].values()]
    photos = [to_rgb(Image.open(io.BytesIO(content))) for content in contents]
    assert [warning for photo in photos for warning in of_one(photo)] == []
    assert of_all(*photos) == []
