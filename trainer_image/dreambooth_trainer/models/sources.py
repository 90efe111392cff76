"""Where model files come from: shipped with the trainer, a folder or file, or the hub. Used by every loader of models."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dreambooth_api.failures import ModelUnavailable, StorageFull, classify
from dreambooth_api.training import Model
from dreambooth_trainer import embedded

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Environment variables that may hold the hub's token; huggingface_hub reads them itself, and they are never logged."""


@dataclass(frozen=True)
class Files:
    """A model on the local disk."""

    path: Path
    """Folder in diffusers' or transformers' layout, or a single-file checkpoint."""
    commit: str | None = None
    """Commit of the hub repository it came from."""


def locate(model: Model, patterns: Iterable[str] | None = None) -> Files:
    """Finds a model's files, downloading them from the hub where the source says so.

    Args:
        model: source, revision and variant.
        patterns: file patterns to download from a hub repository; None for all.

    Raises:
        ModelUnavailable: nothing loadable is there.
    """
    scheme, separator, name = model.source.partition("://")
    if not separator:
        path = Path(model.source)
        if not path.exists():
            raise ModelUnavailable(
                f"model.source: {model.source!r} does not exist. Give a folder in diffusers' layout, a .safetensors file, "
                "hf://organisation/name or embedded://emoji."
            )
        return Files(path)
    if scheme == "embedded":
        try:
            return Files(embedded.path(name) / "pipeline")
        except ValueError as error:
            raise ModelUnavailable(f"model.source: {error}") from error
    if scheme == "hf":
        return _download(name, model.revision, patterns)
    raise ModelUnavailable(
        f"model.source: {model.source!r} has an unknown scheme. Use hf://, embedded:// or the path of a folder or file."
    )


def _download(repository: str, revision: str | None, patterns: Iterable[str] | None) -> Files:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(patterns) if patterns else None)
        )
    except Exception as error:
        if isinstance(failure := classify(error), StorageFull):
            raise failure from error
        hint = "is not set" if not any(os.environ.get(name) for name in TOKEN_VARIABLES) else "is set"
        raise ModelUnavailable(
            f"model.source: hf://{repository} (revision {revision or 'main'}) can't be downloaded: "
            f"{str(error).splitlines()[0]}. Check the name and the revision, that its licence is accepted where it is gated "
            f"(a token {hint} in HF_TOKEN), and that the hub is reached from here."
        ) from error
    # The hub's cache keeps each snapshot in a folder named by its commit.
    return Files(folder, commit=folder.name)
