"""The committed example photos match their script, and are suitable for DreamBooth."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

from dreambooth_client.manifests import Manifest, read

EXAMPLES = Path(__file__).parents[2] / "examples"
SUBJECTS = ("dog", "backpack", "teapot")


@pytest.fixture(scope="module")
def make_photos() -> ModuleType:
    """The script, which is in no package."""
    spec = importlib.util.spec_from_file_location("make_photos", EXAMPLES / "make_photos.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(subject: str) -> list[Image.Image]:
    return [Image.open(path) for path in sorted((EXAMPLES / subject / "photos").glob("*.jpg"))]


def test_every_subject_has_photos(make_photos: ModuleType) -> None:
    assert set(make_photos.SUBJECTS) == set(SUBJECTS)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_photos_are_five_rgb_squares_of_512_pixels(subject: str) -> None:
    assert [(photo.mode, photo.size) for photo in committed(subject)] == [("RGB", (512, 512))] * 5


@pytest.mark.parametrize("subject", SUBJECTS)
def test_script_reproduces_committed_photos(make_photos: ModuleType, subject: str) -> None:
    for made, photo in zip(make_photos.photos(subject), committed(subject), strict=True):
        difference = np.abs(np.asarray(made, float) - np.asarray(photo, float))
        assert difference.mean() < 2, "only losses of JPEG may differ"
        assert np.percentile(difference, 99) < 24


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_manifest_holds_the_committed_photos(make_photos: ModuleType, subject: str) -> None:
    files = {path.name: path.read_bytes() for path in sorted((EXAMPLES / subject / "photos").glob("*.jpg"))}
    text = (EXAMPLES / subject / "dreamboothjob.yaml").read_text()
    assert make_photos.with_photos(text, f"{subject}-photos", files) == text
    manifest = read(EXAMPLES / subject / "dreamboothjob.yaml")
    assert isinstance(manifest, Manifest)
    assert {path.name for path in Path(str(manifest.config.subject.images.path)).iterdir()} == set(files)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_kubectl_applies_the_photos_first_and_can_store_its_copy_of_them(subject: str) -> None:
    text = (EXAMPLES / subject / "dreamboothjob.yaml").read_text()
    assert [document["kind"] for document in yaml.safe_load_all(text)] == ["ConfigMap", "DreamBoothJob"]
    assert len(text) < 256 * 1024, "the limit of all annotations of an object"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_two_photos_of_a_subject_share_a_background(subject: str) -> None:
    # The subject covers the middle; the rim is background.
    rims = [
        np.concatenate([pixels[:24].ravel(), pixels[-24:].ravel()]) for pixels in map(np.asarray, committed(subject))
    ]
    for i, first in enumerate(rims):
        for second in rims[i + 1 :]:
            assert np.abs(first.astype(float) - second).mean() > 15
