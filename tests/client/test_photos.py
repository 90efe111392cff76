"""Photos for a ConfigMap: small, upright, with valid keys, captions and masks."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from dreambooth_api.contradictions import Fields
from dreambooth_client.photos import prepared
from dreambooth_trainer.data.photos import load_photos


def picture(path: Path, size: tuple[int, int], mode: str = "RGB", **options: object) -> None:
    noise = Image.effect_noise((64, 64), 80).resize(size)
    Image.merge(mode, [noise] * len(mode)).save(path, **options)  # type: ignore[arg-type]


def opened(files: dict[str, bytes] | object, name: str) -> Image.Image:
    return Image.open(io.BytesIO(files[name]))  # type: ignore[index]


def test_photos_are_scaled_to_their_shorter_side_but_not_enlarged(tmp_path: Path) -> None:
    picture(tmp_path / "large.jpg", (1600, 1200))
    picture(tmp_path / "small.jpg", (300, 200))
    files, names = prepared(tmp_path, 512)
    assert names == {"large.jpg": "00-large.jpg", "small.jpg": "01-small.jpg"}
    assert opened(files, "00-large.jpg").size == (683, 512)
    assert files["01-small.jpg"] == (tmp_path / "small.jpg").read_bytes(), "it is not encoded again"


def test_a_photo_that_is_turned_by_its_metadata_is_stored_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "phone.jpg", (400, 300), exif=exif)
    files, _ = prepared(tmp_path, 512)
    stored = opened(files, "00-phone.jpg")
    assert stored.size == (300, 400) and 0x0112 not in stored.getexif()


def test_names_become_valid_keys_and_captions_and_masks_follow(tmp_path: Path) -> None:
    picture(tmp_path / "mein Hund (1).JPG", (900, 900))
    picture(tmp_path / "mein Hund (1).mask.png", (900, 900), "RGB")
    (tmp_path / "mein Hund (1).txt").write_text("a {identifier} {class} on a sofa")
    picture(tmp_path / "二.png", (600, 700), "RGBA")
    row = {"file_name": "二.png", "text": "a {identifier} {class} outside", "more": 1}
    (tmp_path / "metadata.jsonl").write_text(f"\n{json.dumps(row)}\n")
    files, names = prepared(tmp_path, 512)
    assert set(files) == {
        "00-mein-Hund-1.jpg",
        "00-mein-Hund-1.mask.png",
        "00-mein-Hund-1.txt",
        "01-photo.png",
        "metadata.jsonl",
    }
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", name) for name in files)
    assert names["二.png"] == "01-photo.png"
    assert opened(files, "00-mein-Hund-1.mask.png").size == (512, 512)
    assert opened(files, "01-photo.png").mode == "RGBA", "its transparency is a mask"
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in files.items():
        (copy / name).write_bytes(content)
    photos, _ = load_photos(copy, Fields({"subject": {"class": "dog", "mask": "loss"}}, ()), 512)
    assert [photo.caption for photo in photos] == ["a {identifier} {class} on a sofa", "a {identifier} {class} outside"]
    assert all(photo.mask for photo in photos)


@pytest.mark.parametrize("side", [256, 1024])
def test_the_training_sees_nearly_the_same_picture(tmp_path: Path, side: int) -> None:
    picture(tmp_path / "a.png", (2 * side, 3 * side))
    files, _ = prepared(tmp_path, side)
    with Image.open(tmp_path / "a.png") as original:
        wanted = original.resize((side, round(1.5 * side)), Image.Resampling.LANCZOS)
    stored = opened(files, "00-a.jpg")
    difference = Image.blend(wanted.convert("L"), Image.eval(stored.convert("L"), lambda value: 255 - value), 0.5)
    assert max(abs(value - 127) for value in difference.getextrema()) <= 6
