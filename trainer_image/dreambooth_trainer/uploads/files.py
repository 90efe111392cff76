"""What is uploaded of a finished run, under which names."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth_api.failures import StorageUnavailable
from dreambooth_api.training import Upload
from dreambooth_trainer.process.storage import SUMS, read_together, sha256_of
from dreambooth_trainer.run import RunFolder

COMPLETE = "COMPLETE"
"""Name of the file that is uploaded last."""
CARD = "README.md"
"""The model card of a repository of the hub."""


@dataclass(frozen=True)
class File:
    """A file to upload."""

    content: Path | bytes
    digest: str
    """SHA-256 in hexadecimal."""

    @classmethod
    def of(cls, content: bytes) -> "File":
        """A file that is not on the disk."""
        return cls(content, hashlib.sha256(content).hexdigest())

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def files_of(folder: RunFolder, upload: Upload, exported: Mapping[str, str], card: bytes) -> dict[str, File]:
    """The files of an upload in their order, by their names there; the list of digests and `COMPLETE` come last.

    Args:
        folder: folder of the run, which is finished.
        upload: what is uploaded.
        exported: SHA-256 of the exported files, by their paths in the folder of the model.
        card: the model card.

    Raises:
        StorageUnavailable: a file of the model has changed since its export.
    """
    paths = {path.relative_to(folder.root).as_posix(): path for path in _paths(folder, upload.parts)}
    digests = read_together(sha256_of, folder.root, list(paths.values()))
    model = folder.model.name
    for name, digest in exported.items():
        if digests.get(f"{model}/{name}", digest) != digest:
            raise StorageUnavailable(
                f"{folder.model / name} has changed since the export. Remove {folder.model}, and start the run again."
            )
    files = {_name(name, upload): File(path, digests[name]) for name, path in paths.items()}
    if upload.on_hub:
        files[CARD] = File.of(card)
    lines = "".join(f"{one.digest}  {name}\n" for name, one in files.items())
    return {**files, SUMS: File.of(lines.encode()), COMPLETE: File.of(b"")}


def _paths(folder: RunFolder, parts: Sequence[str]) -> Iterator[Path]:
    chosen = {
        "model": [folder.model],
        "samples": [folder.samples, folder.evaluation],
        "report": [folder.report, folder.result, folder.losses],
    }
    for part in parts:
        for place in chosen[part]:
            files = sorted(place.rglob("*")) if place.is_dir() else [place]
            # The upload has a list of all its files.
            yield from (path for path in files if path.is_file() and path != folder.model / SUMS)


def _name(path: str, upload: Upload) -> str:
    """The name of a file of the run. On the hub, the model is where `from_pretrained` looks for it."""
    return path.removeprefix("model/").removeprefix("diffusers/") if upload.on_hub else path
