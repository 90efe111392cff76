"""The class-image cache: a folder for each combination of settings that determines the images, with a folder for each
image.

The `prior` phase of any run of the class fills it, also of several runs at the same time, and the `cache` phase reads
it. The folder of an image also holds the SHA-256 of its files, which is compared at each use. An image that has changed
on the disk is generated again, bit for bit the same. Only a cache that is mounted read-only protects against a user who
also changes the digests: its images are used, and missing images are written to the run's own folder.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load, save_file
from torch import Tensor

from dreambooth_api.failures import StorageUnavailable
from dreambooth_api.training import Sampler
from dreambooth_trainer.data.buckets import Size
from dreambooth_trainer.process.storage import atomic_folder, digest_of, is_writable, sha256_of, write_json

SEED_SCHEME = "index"
"""Image i is generated from seed i. Part of the digest, so that another scheme has another folder."""


IMAGE, LATENTS = "image.png", "latents.safetensors"
DIGESTS = "digests.json"
"""SHA-256 of each file of an image."""


class ChangedImage(StorageUnavailable):
    """An image changed while it was used; the next start generates it again."""


@dataclass(frozen=True)
class ClassImages:
    """Class images 0, 1, 2, ... of one model, prompt and sampler."""

    folder: Path
    """Folder of the images, to which new ones are written."""
    shared: Path | None = None
    """Read-only folder with further images."""

    @classmethod
    def of(
        cls, cache: Path, own: Path, *, model: str, precision: str, prompt: str, sampler: Sampler, size: Size
    ) -> "ClassImages":
        """The images that these settings determine.

        Args:
            cache: folder that runs share.
            own: folder of the run, for images that are missing in a read-only cache.
            model: digest of the base model.
            precision: number format of the denoiser's arithmetic.
            prompt: prompt of the class, filled in.
            sampler: sampler settings.
            size: width and height in pixels.
        """
        settings = {
            "model": model,
            "precision": precision,
            "prompt": prompt,
            "sampler": sampler.model_dump(by_alias=True),
            "size": recorded(size),
            "seeds": SEED_SCHEME,
        }
        name = digest_of(settings)[:24]
        shared = cache / "class-images" / name
        images = cls(shared) if is_writable(shared) else cls(own / name, shared)
        if not images._settings.exists():
            write_json(images._settings, settings)
        return images

    def has(self, index: int) -> bool:
        """Whether an image exists and has not changed since it was stored."""
        return self._found(index) is not None

    def missing(self, count: int) -> list[int]:
        """Indices below `count` of the images that don't exist."""
        return [index for index in range(count) if not self.has(index)]

    def add(self, index: int, image: Image.Image, latents_CHW: Tensor) -> None:
        """Stores an image. If two runs store the same image, the first one stays."""
        target = self.folder / f"{index:06d}"
        if _digests(target) is None:
            shutil.rmtree(target, ignore_errors=True)
        with atomic_folder(target, replace=False) as folder:
            image.save(folder / IMAGE)
            save_file({"latents": latents_CHW.contiguous().cpu()}, folder / LATENTS)
            (folder / DIGESTS).write_text(json.dumps({name: sha256_of(folder / name) for name in (IMAGE, LATENTS)}))

    def image(self, index: int) -> Path:
        """The picture of an image (PNG)."""
        return (self._found(index) or self.folder / f"{index:06d}") / IMAGE

    def latents(self, indices: Sequence[int]) -> Tensor:
        """Latents of images, [N, C, H, W].

        Raises:
            ChangedImage: an image has changed since it was stored.
        """
        return torch.stack([self._latents(index) for index in indices])

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def _found(self, index: int) -> Path | None:
        """The folder of an image, a shared one first."""
        places = [place / f"{index:06d}" for place in (self.shared, self.folder) if place]
        return next((place for place in places if _digests(place) is not None), None)

    def _latents(self, index: int) -> Tensor:
        folder = self._found(index)
        digests = _digests(folder) if folder else None
        content = (folder / LATENTS).read_bytes() if folder else b""
        # The digest is compared with the bytes that are used, not with those of a second read.
        if digests is None or hashlib.sha256(content).hexdigest() != digests[LATENTS]:
            raise ChangedImage(
                f"class image {index} in {self.folder} changed during the run; start the run again to generate it again"
            )
        return load(content)["latents"]


def recorded(size: Size) -> int | Size:
    """A size as it is part of digests: of a square, its side."""
    return size[0] if size[0] == size[1] else size


def _digests(folder: Path) -> dict[str, str] | None:
    """The digests of an image; None if a file is missing or differs."""
    try:
        digests: dict[str, str] = json.loads((folder / DIGESTS).read_text())
        whole = all(digests[name] == sha256_of(folder / name) for name in (IMAGE, LATENTS))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digests if whole else None
