import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from dreambooth_api.failures import ModelUnavailable
from dreambooth_api.training import Model
from dreambooth_trainer import embedded
from dreambooth_trainer.models import identify
from dreambooth_trainer.models.sources import TOKEN_VARIABLES, locate
from tests.trainer.fake_hub import COMMIT, FakeHub

TOKEN = "hf_tokenThatNobodyMaySee"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for name in ("model_index.json", "unet/weights.safetensors", "unet/weights.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"name": "{name}"}}')
    return folder


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Points the hub's client, whose settings are read at import, at an address, with an empty cache and no token."""
    for name in TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))

    def reach(url: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")

    return reach


def test_a_hub_repository_is_downloaded_and_its_commit_is_reported(
    repository: Path, reach: Callable[[str], None]
) -> None:
    with FakeHub(repository).serve() as hub:
        reach(hub.url)
        files = locate(Model(source="hf://studio/tiny"), ["*.json", "*.safetensors"])
    assert files.commit == COMMIT
    found = {path.relative_to(files.path).as_posix() for path in files.path.rglob("*") if path.is_file()}
    assert found == {"model_index.json", "unet/weights.safetensors"} == hub.fetched
    assert (files.path / "model_index.json").read_bytes() == (repository / "model_index.json").read_bytes()
    assert set(hub.authorizations) == {None}


def test_no_weights_of_another_family_are_downloaded(repository: Path, reach: Callable[[str], None]) -> None:
    (repository / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
    with FakeHub(repository).serve() as hub:
        reach(hub.url)
        with pytest.raises(ModelUnavailable, match="is a PixArtAlphaPipeline, which is not supported"):
            identify(Model(source="hf://studio/tiny"))
    assert hub.fetched == {"model_index.json"}


def test_a_downloaded_commit_needs_no_hub(repository: Path, reach: Callable[[str], None]) -> None:
    model = Model(source="hf://studio/tiny", revision=COMMIT)
    with FakeHub(repository).serve() as hub:
        reach(hub.url)
        first = locate(model)
    assert locate(model) == first and first.commit == COMMIT


def test_the_token_is_sent_and_never_shown(
    repository: Path,
    reach: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = Model(source="hf://studio/tiny")
    caplog.set_level(logging.DEBUG)
    with FakeHub(repository, token=TOKEN).serve() as hub:
        reach(hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN + "Wrong")
        with pytest.raises(ModelUnavailable, match="a token is set in HF_TOKEN") as refused:
            locate(model)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert locate(model).commit == COMMIT
        assert f"Bearer {TOKEN}" in hub.authorizations
    assert TOKEN not in str(refused.value) + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("source", "revision", "hints"),
    [
        ("hf://studio/tiny", None, ["accepted its licence", "a token is not set in HF_TOKEN"]),
        ("hf://studio/other", None, ["Check the name"]),
        ("hf://studio/tiny", "v9", ["revision v9", "Check the name and the revision"]),
        ("hf://not a name", None, ["hf://not a name", "Check the name"]),
    ],
)
def test_a_refusal_of_the_hub_is_reported_with_a_remedy(
    repository: Path, reach: Callable[[str], None], source: str, revision: str | None, hints: list[str]
) -> None:
    gated = source == "hf://studio/tiny" and revision is None
    with FakeHub(repository, token=TOKEN if gated else None).serve() as hub:
        reach(hub.url)
        with pytest.raises(ModelUnavailable) as caught:
            locate(Model(source=source, revision=revision))
    for hint in ["model.source", source, *hints]:
        assert hint in str(caught.value)


@pytest.mark.timed
def test_an_unreachable_hub_is_reported_promptly(reach: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reach(f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match="this machine can reach the hub"):
        locate(Model(source="hf://studio/tiny"))
    assert time.monotonic() - started < 30


def test_embedded_models_and_paths_are_found(tmp_path: Path) -> None:
    assert locate(Model(source="embedded://emoji")).path == embedded.path("emoji") / "pipeline"
    assert locate(Model(source=str(tmp_path))).path == tmp_path
    assert locate(Model(source=str(tmp_path))).commit is None


@pytest.mark.parametrize("source", ["/nowhere/model", "embedded://emojis", "s3://bucket/model"])
def test_a_missing_source_is_refused_with_a_remedy(source: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"model\.source: ") as caught:
        locate(Model(source=source))
    assert any(remedy in str(caught.value) for remedy in ("hf://organisation/name", "there are: emoji", "Use hf://"))
    assert source.removeprefix("embedded://") in str(caught.value)
