"""Base models without weights: all modules of a model, built from its configuration, with tensors that have no memory."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreambooth_api.failures import ModelUnavailable
from dreambooth_api.model_files import pipeline_of, why_no_base_model
from dreambooth_api.training import Model
from dreambooth_trainer.models.base import exact_weights
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.loading import MODELS
from dreambooth_trainer.models.objectives.ddpm import Ddpm
from dreambooth_trainer.models.sources import CONFIGURATION, locate, locate_configuration

LIBRARIES = ("diffusers", "transformers")
"""Libraries whose classes a `model_index.json` may name."""


def load_weightless(model: Model, device_type: str, precision: torch.dtype) -> LatentDiffusion:
    """What `load_model` returns, with tensors on the meta device, from the configuration alone.

    Args:
        model: where the model is. Of a hub repository, only its configuration is downloaded.
        device_type: type of the device whose kernels are chosen, `cpu` or `cuda`.
        precision: number format of the arithmetic.

    Raises:
        ModelUnavailable: the model has no configuration, or is of another family.
    """
    folder = configuration_of(model)
    if reason := why_no_base_model(folder):
        raise ModelUnavailable(f"model.source: {model.source!r} can't be planned: it {reason}.")
    try:
        loaded = _model(folder, precision)
    except (OSError, ValueError, KeyError, AttributeError, ImportError) as error:
        cause = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelUnavailable(
            f"model.source: {model.source!r} can't be planned: {cause}. Give a model whose folder has model_index.json and "
            "the configuration of every part."
        ) from error
    loaded.choose_kernels(device_type)
    return loaded


def pretend(model: LatentDiffusion, weights: torch.dtype) -> None:
    """Replaces all tensors of a model by those of the present `FakeTensorMode`, which operations can compute with.

    They pretend to be on the CPU, whatever the device: autograd needs a device that exists.

    Args:
        model: a model on the meta device.
        weights: number format of the denoiser's frozen weights; those of the other parts are the model's.
    """
    model.device = torch.device("cpu")
    formats = model.weight_formats(weights, model.precision)
    for name, module in model.parts.items():
        _replace_tensors(module, formats.get(name, formats["default"]))
    if isinstance(model.objective, Ddpm):
        scheduler = model.objective.scheduler
        scheduler.alphas_cumprod = _like(scheduler.alphas_cumprod)


def configuration_of(model: Model) -> Path:
    """The folder with a model's configuration, downloaded if it is a hub repository.

    Raises:
        ModelUnavailable: there is none.
    """
    path = locate(model, CONFIGURATION).path
    if path.is_dir():
        return path
    folder = locate_configuration(model)
    if folder is None:
        raise ModelUnavailable(
            f"model.source: {model.source!r} is a single file, which has no configuration. Give model.config."
        )
    return folder


def _model(folder: Path, precision: torch.dtype) -> LatentDiffusion:
    """The model of a folder on the meta device."""
    index = json.loads((folder / "model_index.json").read_text())
    kind = MODELS[pipeline_of(folder)]
    parts = {name: _part(folder / name, index[name]) for name in kind.family().folders}
    options = {name: value for name, value in index.items() if name[0] != "_" and not _names_a_part(value)}
    pipeline = kind.pipeline_class(**parts, **{**options, **kind.without})
    kind.check_pipeline(pipeline)
    return kind(pipeline, device=torch.device("meta"), precision=precision, digest="", commit=None, origin=folder)


def _names_a_part(value: Any) -> bool:
    """Whether a value of `model_index.json` is a library and a class, and not a setting, which may be a list of numbers."""
    return isinstance(value, list) and all(one is None or isinstance(one, str) for one in value)


def _part(folder: Path, named: list[str | None]) -> Any:
    """A part of a pipeline: modules are on the meta device; tokenizers and schedulers are the real ones.

    Args:
        folder: its folder.
        named: library and class, as `model_index.json` names them.
    """
    library, name = named
    if library not in LIBRARIES or name is None:
        raise ValueError(f"its {folder.name} is of {library}, and not of {' or '.join(LIBRARIES)}")
    kind = getattr(importlib.import_module(library), name)
    with torch.device("meta"):
        if issubclass(kind, PreTrainedModel):
            return kind(kind.config_class.from_pretrained(folder))
        if issubclass(kind, ModelMixin):
            return kind.from_config(kind.load_config(folder))
    return kind.from_pretrained(folder)


def _replace_tensors(module: nn.Module, weights: torch.dtype) -> None:
    """Replaces all tensors of a module by those of the present mode.

    Args:
        module: the module.
        weights: number format of its frozen weights, of which libraries keep some in float32. Trained ones are float32.
    """
    exact = exact_weights(module, weights)
    # Submodules may share weights, such as embeddings of tokens.
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for path, part in module.named_modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter not in replaced:
                is_exact = parameter.requires_grad or f"{path}.{name}".lstrip(".") in exact
                data = _like(parameter, torch.float32 if is_exact else weights)
                replaced[parameter] = nn.Parameter(data, parameter.requires_grad)
            part.register_parameter(name, replaced[parameter])
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, _like(buffer))
        for name, constant in vars(part).items():
            if isinstance(constant, Tensor):
                setattr(part, name, _like(constant))


def _like(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype or tensor.dtype, device="cpu")
