"""What a base model is, by the content of its files. Importable without torch, so that files can be read while the libraries
are imported."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dreambooth_api.failures import ModelUnavailable
from dreambooth_api.model_families import FAMILIES, Family
from dreambooth_api.model_files import pipeline_of, why_no_base_model
from dreambooth_api.training import Model
from dreambooth_trainer.models.sources import CONFIGURATION, Files, digests_of, locate, locate_configuration
from dreambooth_trainer.process.storage import digest_of, sha256_once

WEIGHTS = ("model", "diffusion_pytorch_model")
"""Names of weight files in the layouts of transformers and diffusers, without variant and suffix."""


@dataclass(frozen=True)
class Identity:
    """Identifies a base model by its content, whatever its path."""

    digest: str
    """SHA-256 over the weights, configurations and tokenizer that are loaded."""
    commit: str | None
    """Commit of the hub repository; None if the model comes from elsewhere."""
    family: Family
    """What can be done with the model."""


def identify(model: Model) -> Identity:
    """Identifies a model by the files that loading reads, whatever its path. Does not load the model.

    Raises:
        ModelUnavailable: the model does not exist, or is of another family.
    """
    files = files_of(model)
    return Identity(digest_at(files.path, model), files.commit, _family(files.path))


def read_ahead(model: Model) -> None:
    """Begins to compute the digests of a model's files in the background, unless it is on a hub, which has them.

    The imports of torch and other libraries take as long as the digests of some gigabytes. Nothing waits for this thread
    at the end of the process.
    """
    if "://" not in model.source:
        threading.Thread(target=_read, args=(Path(model.source), model), daemon=True).start()


def _read(path: Path, model: Model) -> None:
    # What is wrong with the files is reported by `identify`.
    with suppress(Exception):
        for file in [path] if path.is_file() else _files_at(path, model):
            sha256_once(file)


def files_of(model: Model) -> Files:
    """Finds a model's files. Of a hub repository, the configuration comes first: a model that can't be used may have many
    gigabytes of weights.

    Raises:
        ModelUnavailable: the model does not exist, or is of another family.
    """
    files = locate(model, CONFIGURATION)
    if reason := why_no_base_model(files.path):
        raise unavailable(model, f"it {reason}")
    return (
        locate(model.model_copy(update={"revision": files.commit}), downloads(_family(files.path), model.variant))
        if files.commit
        else files
    )


def unavailable(model: Model, cause: str) -> ModelUnavailable:
    """The failure for a model that can't be loaded."""
    return ModelUnavailable(
        f"model.source: {model.source!r} can't be loaded: {cause}. Give a complete folder of a supported family in "
        "diffusers' layout with .safetensors weights (see model.variant), or a single-file checkpoint with model.config."
    )


def downloads(family: Family, variant: str | None) -> list[str]:
    """Patterns of the files that are downloaded from a hub repository.

    They match no pickles, which could run code, and only the weights of the variant: repositories hold the weights in
    many layouts and precisions.
    """
    mark = f".{variant}" if variant else ""
    weights = [
        f"{folder}/{name}{mark}{rest}.safetensors"
        for folder in family.folders
        for name in WEIGHTS
        for rest in ("", "-*")
    ]
    return [*CONFIGURATION, *weights]


def _family(path: Path) -> Family:
    """Family of files that were found usable."""
    return FAMILIES[pipeline_of(path)]


def digest_at(path: Path, model: Model) -> str:
    """SHA-256 over the files that loading reads."""
    if path.is_file():
        folder = locate_configuration(model)
        names = [name for pattern in CONFIGURATION for name in folder.rglob(pattern)] if folder else []
        return digest_of([sha256_once(path), digests_of(folder, names) if folder else None])
    return digest_of(digests_of(path, _files_at(path, model)))


def _files_at(path: Path, model: Model) -> Iterator[Path]:
    """The files of a folder that loading reads."""
    family = _family(path)
    names = [path / "model_index.json"]
    for part in family.folders:
        names += [name for pattern in CONFIGURATION for name in (path / part).glob(pattern)]
        weights = list((path / part).glob("*.safetensors"))
        names += [
            name for name in weights if any(map(name.relative_to(path).match, downloads(family, model.variant)))
        ] or weights
    return filter(Path.is_file, names)
