"""Quantized models of each family: predictions, adapters, and exports of the unquantized weights."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dreambooth_api.training import Quantization
from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.model import FlowTransformer
from dreambooth_trainer.models.quantization import Int8Linear, Nf4Linear, QuantizedLinear
from dreambooth_trainer.phases import export
from dreambooth_trainer.process.storage import manifest_of
from tests.trainer.models.flow.test_export import pictures
from tests.trainer.models.flow.test_model import pictures as random_pictures
from tests.trainer.tiny_flow import loaded_flow
from tests.trainer.trained_models import train

LORA: dict[str, Any] = {"method": "lora", "lora": {"rank": 4, "alpha": 24}}
DORA: dict[str, Any] = {"method": "lora", "lora": {"rank": 4, "alpha": 24, "useDora": True}}


def quantized(folder: Path, kind: Quantization, precision: torch.dtype = torch.float32) -> FlowTransformer:
    model = loaded_flow(folder, precision)
    model.quantize(kind)
    return model


def predicted(model: FlowTransformer, prompts: Tensors) -> Tensor:
    z = model.encode_images(random_pictures(2)).mean_BCHW
    with torch.no_grad(), model.denoising(), model.arithmetic():
        return model.predict(z, torch.tensor([300.0, 700.0]), prompts, {}).float()


def test_predictions_differ_by_more_with_fewer_bits(folder: Path, model: FlowTransformer) -> None:
    prompts = model.encode_prompts(model.tokenize(["a dog", "a cat"]))
    wanted = predicted(model, prompts)
    kinds: tuple[Quantization, ...] = ("none", "int8", "nf4")
    errors = [float((predicted(quantized(folder, kind), prompts) - wanted).norm() / wanted.norm()) for kind in kinds]
    print("errors of predictions", errors)
    assert errors[0] == 0 and all(few < more for few, more in pairwise(errors))
    assert errors[1] < 0.03 and errors[2] < 0.5


def test_large_text_encoders_take_8_bits(folder: Path) -> None:
    model = quantized(folder, "nf4")
    for name, encoder in model.text_encoders.items():
        kinds = {type(layer) for layer in encoder.modules() if isinstance(layer, QuantizedLinear)}
        assert kinds == ({Int8Linear} if name in model.rounded_parts else set())
    assert {type(layer) for layer in model.denoiser.modules() if isinstance(layer, QuantizedLinear)} == {Nf4Linear}


@pytest.mark.parametrize("training", [LORA, DORA], ids=["lora", "dora"])
def test_the_export_is_made_of_the_unquantized_weights(folder: Path, tmp_path: Path, training: dict[str, Any]) -> None:
    """Adapters that were trained for a quantized model are exported as if it had not been."""
    written = {}
    for kind in ("none", "nf4"):
        run, _ = train(loaded_flow(folder), tmp_path / kind, {**training, "quantization": kind}, ["diffusers"])
        if kind == "nf4" and training is DORA:
            # The magnitudes begin as those of the quantized weights.
            weights = tmp_path / "none" / "run" / "weights" / "weights.safetensors"
            (run.folder.weights / "weights.safetensors").write_bytes(weights.read_bytes())
        export.export(run, run.folder.weights)
        written[kind] = manifest_of(run.folder.model)
    assert written["nf4"] == written["none"]


@pytest.mark.parametrize("training", [LORA, DORA], ids=["lora", "dora"])
def test_pictures_show_the_quantized_model_with_the_adapters(
    folder: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    run, trained = train(quantized(folder, "int8"), tmp_path, {**training, "quantization": "int8"}, ["diffusers"])
    expected = pictures(trained)
    export.export(run, run.folder.weights)
    assert abs(pictures(export.load_exported(run)) - expected).max() <= 2  # type: ignore[arg-type]
    assert abs(pictures(quantized(folder, "int8")) - expected).max() > 10


def test_adapters_of_a_quantized_model_are_those_of_the_plain_one(folder: Path, tmp_path: Path) -> None:
    """The same layers get adapters, with the same numbers at the beginning."""
    found = []
    for name, model in (("plain", loaded_flow(folder)), ("quantized", quantized(folder, "nf4"))):
        run, _ = train(model, tmp_path / name, LORA, ["diffusers"])
        found.append(load_file(run.folder.weights / "weights.safetensors"))
    first, second = found
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
