"""What is exported is what the stock pipelines generate with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file

from dreambooth_api.training import Sampler
from dreambooth_trainer.models.base import exact_weights
from dreambooth_trainer.models.flow.model import FlowTransformer
from dreambooth_trainer.phases import export
from dreambooth_trainer.phases.export import load_exported
from tests.trainer.models.flow.references import guidance
from tests.trainer.older_libraries import adapter_names
from tests.trainer.tiny_flow import SIZE, loaded_flow
from tests.trainer.trained_models import train

PROMPTS, SEEDS = ["a zqx dog", "a dog"], [3, 4]
SAMPLER = Sampler(scheduler="ddim", steps=2, guidance_scale=3)
TRAININGS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"method": "lora", "lora": {"rank": 4, "alpha": 24}},
    "dora": {"method": "lora", "lora": {"rank": 4, "alpha": 24, "targets": ["attention+ff"], "useDora": True}},
}


def pictures(model: FlowTransformer) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(image, dtype=int) for image in model.generate(PROMPTS, SEEDS, SAMPLER, SIZE).images])


def stock_pictures(pipeline: DiffusionPipeline, model: FlowTransformer) -> np.ndarray[Any, Any]:
    pipeline.set_progress_bar_config(disable=True)
    generated = pipeline(
        # Z-Image's pipeline changes the list.
        prompt=list(PROMPTS),
        height=SIZE,
        width=SIZE,
        num_inference_steps=SAMPLER.steps,
        **guidance(model, SAMPLER.guidance_scale, [""] * len(PROMPTS)),
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
    )
    return np.stack([np.asarray(image, dtype=int) for image in generated.images])


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_stock_pipelines_generate_what_was_trained(
    folder: Path, model: FlowTransformer, tmp_path: Path, training: dict[str, Any]
) -> None:
    run, trained = train(loaded_flow(folder), tmp_path, training, ["diffusers"])
    expected = pictures(trained)
    assert np.abs(expected - pictures(model)).max() > 10
    export.export(run, run.folder.weights)
    exported = run.folder.model
    stock = type(trained).pipeline_class

    assert np.abs(stock_pictures(stock.from_pretrained(exported / "diffusers"), trained) - expected).max() <= 2
    assert np.abs(pictures(load_exported(run)) - expected).max() <= 2  # type: ignore[arg-type]

    assert (exported / "lora").exists() == ("lora" in training)
    if "lora" in training:
        base = stock.from_pretrained(folder)
        base.load_lora_weights(exported / "lora")
        assert np.abs(stock_pictures(base, trained) - expected).max() <= 2
        # A loader that leaves tensors unused only warns.
        (file,) = (exported / "lora").iterdir()
        assert len(adapter_names(base)) == len(load_file(file))


def test_frozen_parts_are_copied_as_they_are(folder: Path, tmp_path: Path) -> None:
    """Newer libraries write files that older ones can't read."""
    run, trained = train(loaded_flow(folder), tmp_path, {}, ["diffusers"])
    export.export(run, run.folder.weights)
    exported, denoiser = run.folder.model / "diffusers", trained.family().denoiser
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    after = {path.relative_to(exported): path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    frozen = {path for path in before if path.parts[0] != denoiser}
    assert {path for path in after if path.parts[0] != denoiser} == frozen
    assert all(after[path] == before[path] for path in frozen)
    configuration = json.loads(before[Path(denoiser, "config.json")])
    written = json.loads(after[Path(denoiser, "config.json")])
    assert {name: written[name] for name in configuration if name[0] != "_"} == {
        name: value for name, value in configuration.items() if name[0] != "_"
    }


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_exported_weights_have_the_format_of_the_arithmetic(
    folder: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    """Twice their size may not fit the device of the training."""
    run, exact = train(loaded_flow(folder), tmp_path, {**training, "mixedPrecision": "bf16"}, ["diffusers"])
    export.export(run, run.folder.weights)
    exact.merge_adapters()
    (file,) = (run.folder.model / "diffusers" / exact.family().denoiser).glob("*.safetensors")
    found, wanted = load_file(file), exact.denoiser.state_dict()
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        assert tensor.dtype == (
            torch.float32 if name in exact_weights(exact.denoiser, torch.bfloat16) else torch.bfloat16
        )
        # A weight is rounded once when it is loaded, and once more if an adapter is added.
        torch.testing.assert_close(tensor.float(), wanted[name], rtol=2**-7, atol=2**-9)
