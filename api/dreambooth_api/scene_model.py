"""A model that generates a scene without a DreamBoothJob: where it is, its low-rank adapters, and the words of its prompts.

Importable without torch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from dreambooth_api.contradictions import model_contradictions, stray_placeholders
from dreambooth_api.failures import Problem
from dreambooth_api.fields import Fields
from dreambooth_api.prompts import ANY_SUBJECT, placeholders
from dreambooth_api.sections import ADAPTER_SOURCE
from dreambooth_api.training import Model, Section, Word

HUB = "hf://"
WITHOUT_RUN = ("embedded://", HUB)
"""Schemes of models and adapters that are in no folder of a run, which would tell the words of its subjects."""
ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""The file that diffusers' pipelines save adapters to."""


class Adapter(Section):
    """Low-rank adapters (LoRA) in the layout that diffusers' `load_lora_weights` reads."""

    source: Annotated[str, Field(min_length=1, max_length=1024)]
    """`pvc://claim/path` (on a PersistentVolumeClaim of the same namespace; cluster only), `hf://organisation/name` (a hub
    repository), or a path (command line only): a folder, such as `model/lora` of a run, or a `.safetensors` file."""
    file: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\x00][^\x00]*[.]safetensors$")] = (
        ADAPTER_FILE
    )
    """Path of the file in the folder or repository."""
    revision: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Branch, tag or commit of a hub repository. Default: the repository's main branch."""
    scale: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Multiple of the change that is added to the model."""


class SceneModel(Model):
    """A model that generates."""

    adapters: Annotated[list[Adapter], Field(max_length=8)] = []
    """Adapters that are added to the model, in this order."""
    identifier: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\s{}]{1,40}$")] | None = None
    """What `{identifier}` stands for in prompts. Default: that of the run in whose folder the model or an adapter is."""
    class_: Annotated[Word | None, Field(alias="class")] = None
    """What `{class}` stands for in prompts. Default: that of the run in whose folder the model or an adapter is."""

    @property
    def adapter_sources(self) -> Mapping[str, str]:
        """The sources of the adapters, by their fields of the spec."""
        return {f"model.adapters[{number}].source": one.source for number, one in enumerate(self.adapters)}


def scene_model_contradictions(spec: Mapping[str, Any], invalid: set[str]) -> Iterator[Problem]:
    """Problems of fields of a scene that names a model, which are valid by themselves.

    Args:
        spec: the settings of the scene.
        invalid: the fields that are not valid by themselves.
    """
    model = spec.get("model")
    if not isinstance(model, Mapping):
        return
    yield from model_contradictions(Fields(spec, invalid))
    adapters = model.get("adapters")
    found = list(enumerate(adapters if isinstance(adapters, list) else ()))
    for number, one in found:
        if isinstance(one, Mapping):
            yield from _adapter_contradictions(f"spec.model.adapters[{number}]", one)
    sources = [one.get("source") for one in (model, *(one for _, one in found)) if isinstance(one, Mapping)]
    if model.get("tokenSecret") is not None and not any(str(one).startswith(HUB) for one in sources):
        message = "has no effect, because no source is a repository of the hub"
        yield Problem("spec.model.tokenSecret", model["tokenSecret"], message, "Remove it, or give an hf:// source")
    for field, remedy in {
        "step": "Remove it, or give jobName",
        "adapterScale": "Remove it, or set scale of model.adapters",
    }.items():
        if spec.get(field) is not None:
            message = "has no effect, because the scene names a model, not a run"
            yield Problem(f"spec.{field}", spec[field], message, remedy)


def _adapter_contradictions(place: str, adapter: Mapping[str, Any]) -> Iterator[Problem]:
    source = adapter.get("source")
    if not isinstance(source, str):
        return
    if "://" in source and not re.fullmatch(ADAPTER_SOURCE, source):
        remedy = "Write hf://organisation/name, pvc://claim/path, or the path of a folder or file"
        yield Problem(f"{place}.source", source, "is no source of adapters", remedy)
    if adapter.get("revision") is not None and not source.startswith(HUB):
        message = "has no effect, because its source is no repository of the hub"
        yield Problem(f"{place}.revision", adapter["revision"], message, "Remove it, or give an hf:// source")


def is_of_no_run(model: Mapping[str, Any]) -> bool:
    """Whether neither a model nor its adapters can be in the folder of a run.

    Args:
        model: the section of the manifest.
    """
    adapters = model.get("adapters")
    sections = [model, *(adapters if isinstance(adapters, list) else ())]
    return all(isinstance(one, Mapping) and str(one.get("source")).startswith(WITHOUT_RUN) for one in sections)


def unknown_words(field: str, text: str, known: Sequence[str]) -> Iterator[Problem]:
    """Problems of a prompt whose placeholders have no words.

    Args:
        field: where it is.
        text: the prompt.
        known: which of `{identifier}` and `{class}` have.
    """
    yield from stray_placeholders(field, text)
    for name in sorted((placeholders(text) & set(ANY_SUBJECT)) - set(known)):
        message = f"has {{{name}}}, but the model is in no folder of a run that says what it stands for"
        yield Problem(field, text, message, f"Set model.{name}, or write the word")
