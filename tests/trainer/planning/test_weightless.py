"""Models without weights have the parts of loaded models, in the same number formats."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dreambooth_api.failures import ModelUnavailable
from dreambooth_api.training import Model
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.loading import load_model
from dreambooth_trainer.planning.weightless import load_weightless, pretend

PRECISIONS = [torch.float32, torch.bfloat16, torch.float16]


def shapes(model: LatentDiffusion) -> Counter[tuple[str, torch.Size, torch.dtype]]:
    """Part, shape and number format of all weights."""
    return Counter(
        (name, weights.shape, weights.dtype) for name, part in model.parts.items() for weights in part.parameters()
    )


def without_weights(folder: Path, copy: Path) -> Path:
    """A copy of a model's folder with its configuration alone."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    return copy


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("exact", [True, False])
def test_have_the_weights_of_loaded_models(family: Path, tmp_path: Path, precision: torch.dtype, exact: bool) -> None:
    weights = torch.float32 if exact else precision
    planned = load_weightless(Model(source=str(without_weights(family, tmp_path / "model"))), "cuda", precision)
    with FakeTensorMode():
        pretend(planned, weights)
    loaded = load_model(Model(source=str(family)), torch.device("cpu"), precision, "", weights=weights)
    assert shapes(planned) == shapes(loaded)


@pytest.mark.parametrize(("device_type", "processor"), [("cpu", "AttnProcessor"), ("cuda", "AttnProcessor2_0")])
def test_have_the_kernels_of_the_device(device_type: str, processor: str) -> None:
    model = load_weightless(Model(source="embedded://emoji"), device_type, torch.float32)
    assert {type(one).__name__ for one in model.denoiser.attn_processors.values()} == {processor}


def test_a_model_of_another_library_is_refused(write_family: Callable[[str], Path], tmp_path: Path) -> None:
    model = without_weights(write_family("1.x"), tmp_path / "model")
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "unet": ["antigravity", "Unet"]}))
    with pytest.raises(ModelUnavailable, match=r"model\.source: .* its unet is of antigravity"):
        load_weightless(Model(source=str(model)), "cuda", torch.float32)


def test_a_missing_configuration_is_reported(write_family: Callable[[str], Path], tmp_path: Path) -> None:
    model = without_weights(write_family("1.x"), tmp_path / "model")
    (model / "unet" / "config.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"model\.source: .* can't be planned: .* Give a model whose folder has"):
        load_weightless(Model(source=str(model)), "cuda", torch.float32)


def test_a_single_file_is_planned_from_its_configuration(write_family: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    config = without_weights(write_family("1.x"), tmp_path / "model")
    assert load_weightless(Model(source=str(file), config=str(config)), "cuda", torch.float32).resolution == 64
    with pytest.raises(ModelUnavailable, match=r"Give model\.config"):
        load_weightless(Model(source=str(file)), "cuda", torch.float32)
