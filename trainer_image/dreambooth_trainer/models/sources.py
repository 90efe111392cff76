"""Finds model files: embedded in the trainer, in a folder or file, or on the hub. Used by every loader of models."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dreambooth_api.failures import ModelUnavailable, StorageFull, classify
from dreambooth_api.training import Model
from dreambooth_trainer import embedded
from dreambooth_trainer.process.storage import read_together, sha256_once

CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja")
"""Files of a model that hold no weights: configurations, tokenizers and templates of prompts."""

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Environment variables that may hold the hub's token. huggingface_hub reads them itself. They are never logged."""


@dataclass(frozen=True)
class Files:
    """A model on the local disk."""

    path: Path
    """Folder in diffusers' or transformers' layout, or a single-file checkpoint."""
    commit: str | None = None
    """Commit of the hub repository; None if the model comes from elsewhere."""


def locate(model: Model, patterns: Iterable[str] | None = None, *, field: str = "model.source") -> Files:
    """Finds a model's files, and downloads them if the source is on the hub.

    Args:
        model: source, revision and variant.
        patterns: file patterns to download from a hub repository; None for all.
        field: the field of the manifest that names it.

    Raises:
        ModelUnavailable: the source holds no model that can be loaded.
    """
    scheme, separator, name = model.source.partition("://")
    if not separator:
        path = Path(model.source)
        if not path.exists():
            raise ModelUnavailable(
                f"{field}: {model.source!r} does not exist. Give a folder in diffusers' layout, a .safetensors "
                "file, hf://organisation/name or embedded://emoji."
            )
        return Files(path)
    if scheme == "embedded":
        try:
            return Files(embedded.path(name) / "pipeline")
        except ValueError as error:
            raise ModelUnavailable(f"{field}: {error}") from error
    if scheme == "hf":
        return _download(name, model.revision, patterns, field)
    raise ModelUnavailable(
        f"{field}: {model.source!r} has an unknown scheme. Use hf://, embedded:// or the path of a folder or file."
    )


def locate_configuration(model: Model) -> Path | None:
    """The folder with the configuration of a single-file checkpoint, downloaded if `model.config` is a hub repository.

    Returns:
        None if diffusers has to infer the configuration from the weights.
    """
    if model.config is None or Path(model.config).exists():
        return Path(model.config) if model.config else None
    return _download(model.config, None, CONFIGURATION, field="model.config").path


def digests_of(folder: Path, names: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files in a folder, by their paths in it. Files that the hub's cache names by their digest aren't
    read."""
    return read_together(_digest, folder, sorted(names))


def _digest(path: Path) -> str:
    blob = path.resolve()
    named_by_content = path.is_symlink() and blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name)
    return blob.name if named_by_content else sha256_once(blob)


def _download(
    repository: str, revision: str | None, patterns: Iterable[str] | None, field: str = "model.source"
) -> Files:
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
            f"{field}: hf://{repository} (revision {revision or 'main'}) can't be downloaded: "
            f"{str(error).splitlines()[0]}. Check the name and the revision, that you accepted its licence if it is "
            f"gated (a token {hint} in HF_TOKEN), and that this machine can reach the hub."
        ) from error
    # The hub's cache keeps each snapshot in a folder named by its commit.
    return Files(folder, commit=folder.name)
