from pathlib import Path

import pytest
import torch
from PIL import Image

from dreambooth_trainer.class_images import ClassImages
from dreambooth_trainer.config import Sampler
from dreambooth_trainer.storage import manifest_of

SETTINGS = {"model": "abc", "prompt": "a dog", "sampler": Sampler(), "size": 64}


@pytest.fixture
def images(tmp_path: Path) -> ClassImages:
    return ClassImages.of(tmp_path, **SETTINGS)


def add(images: ClassImages, index: int, value: int) -> None:
    images.add(index, Image.new("RGB", (64, 64), (value, 0, 0)), torch.full((4, 8, 8), float(value)))


def test_what_was_stored_is_read(images: ClassImages) -> None:
    for index in (0, 1, 3):
        add(images, index, index)
    assert images.missing(5) == [2, 4]
    assert images.latents([3, 0])[:, 0, 0, 0].tolist() == [3, 0]
    assert Image.open(images.image(3)).getpixel((5, 5)) == (3, 0, 0)


def test_the_first_of_two_writers_wins(images: ClassImages) -> None:
    add(images, 0, 1)
    before = manifest_of(images.folder)
    add(images, 0, 2)
    assert manifest_of(images.folder) == before


@pytest.mark.parametrize("name", ["latents.safetensors", "image.png"])
@pytest.mark.parametrize("damage", ["truncated", "removed", "empty"])
def test_a_damaged_image_is_missing_and_can_be_stored_again(images: ClassImages, name: str, damage: str) -> None:
    add(images, 0, 1)
    file = images.image(0).with_name(name)
    whole = file.read_bytes()
    file.unlink()
    if damage != "removed":
        file.write_bytes(whole[:-9] if damage == "truncated" else b"")
    assert images.missing(1) == [0]
    add(images, 0, 1)
    assert images.missing(1) == []
    assert file.read_bytes() == whole


def test_whatever_determines_the_images_names_the_folder(tmp_path: Path, images: ClassImages) -> None:
    others = [
        {"model": "abd"},
        {"prompt": "a cat"},
        {"sampler": Sampler(steps=26)},
        {"sampler": Sampler(guidance_scale=2)},
        {"sampler": Sampler(scheduler="ddim")},
        {"size": 128},
    ]
    folders = {ClassImages.of(tmp_path, **{**SETTINGS, **other}).folder for other in others}
    assert len(folders | {images.folder}) == len(others) + 1
    assert ClassImages.of(tmp_path, **SETTINGS).folder == images.folder
    assert '"prompt": "a dog"' in (images.folder / "settings.json").read_text()
