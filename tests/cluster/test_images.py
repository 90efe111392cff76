from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import images

FILES = (
    *("Dockerfile", "pyproject.toml", "uv.lock", "LICENSE", "README.md", "tests/test_images.py"),
    *("api/dreambooth_api/job.py", "operator/dreambooth_cli/run.py", "trainer_image/train.py"),
    *("operator/dreambooth_operator/main.py", "operator/dreambooth_operator/kube/client.py"),
)
OURS = "operator/dreambooth_operator"


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    monkeypatch.setattr(images, "ROOT", tmp_path)
    return tmp_path


def written(name: str) -> Callable[[Path], None]:
    """A change: a file is replaced or added."""

    def change(checkout: Path) -> None:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("changed")

    return change


def removed(checkout: Path) -> None:
    (checkout / OURS / "main.py").unlink()


def moved(checkout: Path) -> None:
    (checkout / OURS / "main.py").rename(checkout / OURS / "kube" / "main.py")


def swapped(checkout: Path) -> None:
    one, other = checkout / OURS / "main.py", checkout / OURS / "kube" / "client.py"
    texts = one.read_text(), other.read_text()
    other.write_text(texts[0])
    one.write_text(texts[1])


BOTH, OPERATOR, TRAINER, NONE = {"operator", "trainer"}, {"operator"}, {"trainer"}, set[str]()


@pytest.mark.parametrize(
    ("change", "others"),
    [
        (written("Dockerfile"), BOTH),
        (written("pyproject.toml"), BOTH),
        (written("uv.lock"), BOTH),
        (written("LICENSE"), BOTH),
        (written("api/dreambooth_api/job.py"), BOTH),
        (written("trainer_image/train.py"), TRAINER),
        (written("trainer_image/new/weights.safetensors"), TRAINER),
        (written(f"{OURS}/kube/client.py"), OPERATOR),
        (removed, OPERATOR),
        (moved, OPERATOR),
        (swapped, OPERATOR),
        (written("README.md"), NONE),
        (written("tests/test_images.py"), NONE),
        (written(f"{OURS}/kube/__pycache__/client.pyc"), NONE),
        (written("operator/dreambooth_cli/run.py"), NONE),
    ],
)
def test_the_name_of_an_image_depends_on_its_ingredients(
    checkout: Path, change: Callable[[Path], None], others: set[str]
) -> None:
    before = {target: images.reference(target) for target in images.INGREDIENTS}
    change(checkout)
    assert {target for target, name in before.items() if images.reference(target) != name} == others


def test_the_name_of_an_image_depends_on_its_base(monkeypatch: pytest.MonkeyPatch) -> None:
    before = images.reference("operator")
    monkeypatch.setattr(images, "BASE", "localhost/other-base:1")
    assert images.reference("operator") != before


def test_images_of_all_targets_have_names_of_their_own() -> None:
    names = {images.reference(target) for target in images.INGREDIENTS}
    assert len(names) == len(images.INGREDIENTS)


def test_the_same_ingredients_elsewhere_are_the_same_image(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = images.reference("operator")
    elsewhere = checkout.with_name("elsewhere")
    checkout.rename(elsewhere)
    monkeypatch.setattr(images, "ROOT", elsewhere)
    assert images.reference("operator") == before
