"""Exports in the published layout: the file names, and that older libraries load and generate the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from dreambooth_trainer import embedded
from dreambooth_trainer.models.stable_diffusion.published import save_tokenizer
from dreambooth_trainer.phases import export
from tests.trainer import older_libraries
from tests.trainer.older_libraries import Questions
from tests.trainer.tiny_models import Layout, loaded
from tests.trainer.trained_models import TRAININGS, Train, train

PIPELINE = embedded.path("emoji") / "pipeline"
TOKENIZER_FILES = {"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"}
TEXTS = [
    "a sks dog on the beach",
    "A  Café's 3 DOGS: ünïcode!! 🐶",
    "photo of [V] <toy>, <|endoftext|> and more " * 4,
    "",
]
COMPLAINTS = ("newly initialized", "not used", "unexpected", "not expected", "missing", "No LoRA keys", "mismatch")
"""Words of the libraries' warnings about unexpected or missing tensors."""
ROUNDING = 2 / 255


@pytest.fixture(scope="session")
def older() -> None:
    """The older libraries are installed."""
    try:
        older_libraries.install()
    except OSError as error:
        pytest.skip(f"NOT TESTED with older libraries, as they can't be installed: {error}")


def same_in_older(questions: Questions, prompts: list[str], tmp_path: Path) -> None:
    """Asserts that the older libraries generate what ours generate, without a warning."""
    answers, written = older_libraries.ask(questions, prompts, tmp_path)
    assert not [line for line in written.splitlines() if any(word in line for word in COMPLAINTS)], written
    for (kind, paths), pixels in zip(questions, answers, strict=True):
        difference = np.abs(pixels - older_libraries.answer(kind, paths, prompts)).max()
        assert difference <= ROUNDING, f"{kind} {paths[-1]}: {difference:.3f}"


def test_a_tokenizer_keeps_its_words(tmp_path: Path) -> None:
    tokenizer = a_tokenizer_with_a_word_of_its_own()
    save_tokenizer(tokenizer, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == TOKENIZER_FILES
    again = CLIPTokenizer.from_pretrained(tmp_path / "new")
    assert again.get_vocab() == tokenizer.get_vocab()
    assert (again.pad_token, again.model_max_length) == ("!", 24)
    assert again(TEXTS).input_ids == tokenizer(TEXTS).input_ids


@pytest.mark.slow
def test_older_libraries_read_the_same_tokens(older: None, tmp_path: Path) -> None:
    save_tokenizer(a_tokenizer_with_a_word_of_its_own(), tmp_path / "new")
    folders = [tmp_path / "new", PIPELINE / "tokenizer"]
    answers, _ = older_libraries.ask([("tokenizer", [folder]) for folder in folders], TEXTS, tmp_path)
    for folder, found in zip(folders, answers, strict=True):
        assert found.tolist() == older_libraries.answer("tokenizer", [folder], TEXTS).tolist()


def a_tokenizer_with_a_word_of_its_own() -> CLIPTokenizer:
    """A tokenizer that pads as the 2.x releases do and has an added token."""
    tokenizer = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer", pad_token="!")
    tokenizer.add_tokens(["<toy>"])
    return tokenizer


@pytest.mark.parametrize("training", ["full with text encoder", "lora with other targets"])
def test_the_layout_is_that_of_the_releases(trained: Train, layout: Layout, training: str) -> None:
    run, _ = trained(layout, TRAININGS[training])
    export.export(run, run.folder.weights)
    suffixes = ["", "_2"] if layout == "xl" else [""]
    parts = {f"{part}{suffix}" for part in ("text_encoder", "tokenizer") for suffix in suffixes}
    for folder in (run.folder.model / "diffusers", run.folder.model / "config"):
        assert set(json.loads((folder / "model_index.json").read_text())) > {"unet", "vae", *parts}
        for suffix in suffixes:
            assert {path.name for path in (folder / f"tokenizer{suffix}").iterdir()} == TOKENIZER_FILES
    for suffix in suffixes:
        tensors = load_file(run.folder.model / "diffusers" / f"text_encoder{suffix}" / "model.safetensors")
        assert {name.partition(".")[0] for name in tensors} == {"text_model", *(["text_projection"] if suffix else [])}
    if "lora" in TRAININGS[training]:
        names = load_file(run.folder.model / "lora" / "pytorch_lora_weights.safetensors")
        texts = tuple(f"text_encoder{suffix}.text_model.encoder.layers." for suffix in suffixes)
        assert all(name.startswith(("unet.", *texts)) for name in names)
        assert all(any(name.startswith(text) for name in names) for text in texts)


@pytest.mark.slow
def test_older_libraries_generate_the_same(tiny_folders: dict[Layout, Path], older: None, tmp_path: Path) -> None:
    """One start of the older libraries, whose imports take most of the time, answers for all layouts and methods."""
    questions: list[tuple[str, list[Path]]] = [("folder", [PIPELINE])]
    for layout, source in tiny_folders.items():
        base = tmp_path / layout / "base" / "diffusers"
        loaded(source).export(base.parent, ["diffusers"])
        for training in ("full with text encoder", "lora with other targets"):
            run, _ = train(loaded(source), tmp_path / layout / training, TRAININGS[training])
            export.export(run, run.folder.weights)
            model = run.folder.model
            questions += [
                ("folder", [model / "diffusers"]),
                ("file", [model / "model.safetensors", model / "config"]),
            ]
        questions.append(("lora", [base, model / "lora"]))
    same_in_older(questions, ["a sks dog", "a dog on the beach"], tmp_path)
