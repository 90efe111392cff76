"""Tests of dreambooth_trainer.data.clip_tokenizer: it reads what the trainer's models read."""

import random
import shutil
import sys
from pathlib import Path

import pytest

from dreambooth_api.training import Model
from dreambooth_trainer import embedded
from dreambooth_trainer.data.clip_tokenizer import PIPELINES, ClipTokenizer, tokenizer_at_hand
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.loading import MODELS
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from tests.trainer.tiny_flow import build_flow, loaded_flow
from tests.trainer.tiny_models import Layout, loaded

LETTERS = "abc DOG's 't 12 éü🐶_-.,! \t\n cafe\u0301 İß 日本 ﬁ "


def texts() -> list[str]:
    letters = random.Random(0)
    found = ["".join(letters.choices(LETTERS, k=length)) for length in range(80) for _ in range(20)]
    return [*found, "", "a dog", "a dog on the beach " * 20, "🐶" * 60]


def assert_same(ours: ClipTokenizer | None, model: LatentDiffusion) -> None:
    assert ours is not None
    assert ours.vocabulary == model.vocabulary()
    for text in texts():
        assert ours.words_to_ids(text) == model.words_to_ids(text)
        assert ours.read_length(text) == model.read_length(text)


def test_a_model_of_each_layout(
    layout: Layout, tiny_folders: dict[Layout, Path], tiny_models: dict[Layout, StableDiffusion]
) -> None:
    assert_same(tokenizer_at_hand(Model(source=str(tiny_folders[layout]))), tiny_models[layout])


def test_the_published_files_of_a_tokenizer() -> None:
    folder = embedded.path("emoji") / "pipeline"
    assert_same(tokenizer_at_hand(Model(source="embedded://emoji")), loaded(folder))
    assert_same(tokenizer_at_hand(Model(source=str(folder))), loaded(folder))


def test_the_first_of_several_text_encoders(tmp_path: Path) -> None:
    build_flow("sd3.5").save_pretrained(tmp_path)
    assert_same(tokenizer_at_hand(Model(source=str(tmp_path))), loaded_flow(tmp_path))


def test_the_families_of_clip_are_known() -> None:
    assert {name for name, kind in MODELS.items() if kind.word_suffix == "</w>"} == PIPELINES


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A model without weights, which are not read."""
    weights = shutil.ignore_patterns("*.safetensors")
    return shutil.copytree(embedded.path("emoji") / "pipeline", tmp_path / "model", ignore=weights)


def test_the_configuration_of_a_single_file(copy: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    assert tokenizer_at_hand(Model(source=str(file), config=str(copy)))
    assert tokenizer_at_hand(Model(source=str(file))) is None


def test_a_repository_that_was_downloaded(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = Model(source="hf://org/name")
    assert tokenizer_at_hand(model) is None
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    shutil.copytree(copy, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    assert tokenizer_at_hand(model)
    assert tokenizer_at_hand(model.model_copy(update={"revision": "other"})) is None


def test_what_is_not_at_hand_is_left_to_the_trainer(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(source=str(copy))
    assert tokenizer_at_hand(Model(source="pvc://claim/model")) is None
    assert tokenizer_at_hand(Model(source="nowhere")) is None
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "tokenizers", None)
        assert tokenizer_at_hand(model) is None
    assert tokenizer_at_hand(model)
    (copy / "tokenizer" / "vocab.json").write_text("{")
    assert tokenizer_at_hand(model) is None
