from pathlib import Path

import pytest

from dreambooth_trainer.process.hub_cache import use_hub_cache


@pytest.fixture
def usual(tmp_path: Path) -> Path:
    """A cache of the hub with one snapshot."""
    repository = tmp_path / "home" / "hub" / "models--studio--tiny"
    for name, content in {"refs/main": "abc", "blobs/0f": "weights"}.items():
        (repository / name).parent.mkdir(parents=True)
        (repository / name).write_text(content)
    file = repository / "snapshots" / "abc" / "unet" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.symlink_to("../../../blobs/0f")
    return tmp_path / "home" / "hub"


def test_a_writable_hub_cache_is_kept(usual: Path, tmp_path: Path) -> None:
    environment = {"HF_HOME": str(usual.parent)}
    use_hub_cache(tmp_path / "own", environment)
    assert environment == {"HF_HOME": str(usual.parent)}
    assert not (tmp_path / "own").exists()


def test_models_of_a_read_only_hub_cache_are_used(usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreambooth_trainer.process.hub_cache.is_writable", lambda folder: False)
    environment = {"HF_HUB_CACHE": str(usual), "HF_HOME": "/elsewhere"}
    for _ in range(2):
        use_hub_cache(tmp_path / "own", environment)
    assert environment["HF_HUB_CACHE"] == str(tmp_path / "own")
    repository = tmp_path / "own" / "models--studio--tiny"
    weights = repository / "snapshots" / "abc" / "unet" / "model.safetensors"
    assert weights.read_text() == "weights"
    assert weights.resolve() == usual / "models--studio--tiny" / "blobs" / "0f"
    (repository / "refs" / "main").write_text("def")
    (repository / "blobs" / "1f").write_text("more")
    assert (usual / "models--studio--tiny" / "refs" / "main").read_text() == "abc"


@pytest.mark.parametrize("variables", [{}, {"XDG_CACHE_HOME": "/proc/nowhere"}, {"HF_HOME": "/proc/nowhere"}])
def test_a_missing_hub_cache_is_accepted(
    tmp_path: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    environment = dict(variables)
    use_hub_cache(tmp_path / "own", environment)
    assert environment["HF_HUB_CACHE"] == str(tmp_path / "own")
