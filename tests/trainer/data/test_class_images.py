import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreambooth_api.failures import StorageUnavailable
from dreambooth_api.training import Sampler
from dreambooth_trainer.data.class_images import ChangedImage, ClassImages
from dreambooth_trainer.process.storage import digest_of, manifest_of

SETTINGS = {"model": "abc", "precision": "float32", "prompt": "a dog", "sampler": Sampler(), "size": (64, 64)}


@pytest.fixture
def images(tmp_path: Path) -> ClassImages:
    return ClassImages.of(tmp_path, tmp_path / "own", **SETTINGS)


def add(images: ClassImages, index: int, value: int) -> None:
    images.add(index, Image.new("RGB", (64, 64), (value, 0, 0)), torch.full((4, 8, 8), float(value)))


def test_stored_images_are_read(images: ClassImages) -> None:
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
@pytest.mark.parametrize("damage", ["truncated", "removed", "empty", "altered"])
def test_a_damaged_image_is_missing_and_can_be_stored_again(images: ClassImages, name: str, damage: str) -> None:
    add(images, 0, 1)
    file = images.image(0).with_name(name)
    whole = file.read_bytes()
    file.unlink()
    if damage != "removed":
        changed = {"truncated": whole[:-9], "empty": b"", "altered": whole[:-9] + b"x" * 9}
        file.write_bytes(changed[damage])
    assert images.missing(1) == [0]
    add(images, 0, 1)
    assert images.missing(1) == []
    assert file.read_bytes() == whole


def test_the_name_of_the_folder_depends_on_all_that_determines_the_images(tmp_path: Path, images: ClassImages) -> None:
    others = [
        {"model": "abd"},
        {"precision": "bfloat16"},
        {"prompt": "a cat"},
        {"sampler": Sampler(steps=26)},
        {"sampler": Sampler(guidance_scale=2)},
        {"sampler": Sampler(scheduler="ddim")},
        {"size": (128, 128)},
        {"size": (64, 128)},
        {"size": (128, 64)},
    ]
    folders = {ClassImages.of(tmp_path, tmp_path / "own", **{**SETTINGS, **other}).folder for other in others}
    assert len(folders | {images.folder}) == len(others) + 1
    assert ClassImages.of(tmp_path, tmp_path / "own", **SETTINGS).folder == images.folder
    settings = json.loads((images.folder / "settings.json").read_text())
    # Squares have the name that they had before there were other shapes.
    assert (settings["prompt"], settings["size"], images.folder.name) == ("a dog", 64, digest_of(settings)[:24])


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"image.png": "0", "latents.safetensors": "0"}'])
def test_an_image_without_its_digests_is_missing(images: ClassImages, content: str) -> None:
    add(images, 0, 1)
    images.image(0).with_name("digests.json").write_text(content)
    assert images.missing(1) == [0]


def test_an_image_that_changes_after_it_was_found_is_not_used(
    images: ClassImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(images, 0, 1)
    file = images.image(0).with_name("latents.safetensors")
    changed = file.read_bytes()[:-9] + b"x" * 9
    monkeypatch.setattr(Path, "read_bytes", lambda self: changed)
    with pytest.raises(ChangedImage, match="start the run again") as caught:
        images.latents([0])
    assert caught.value.exit_code == StorageUnavailable.exit_code
