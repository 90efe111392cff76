"""The shared cache of class images: one folder for everything that determines them, one folder in it for each image.

Filled by the `prior` phase of any job of the class, also of several at the same time, and read by `cache`. Beside each image is
the SHA-256 of its files, which is compared whenever it is used: what a disk, a killed process or a careless hand has changed is
drawn again, to the bit. Against somebody who also rewrites the digests only a cache that is mounted read-only helps: its images
are used, and what it lacks is drawn into the run's own folder.
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

from dreambooth_api.training import Sampler
from dreambooth_trainer.process.storage import atomic_folder, digest_of, is_writable, sha256_of, write_json

SEED_SCHEME = "index"
"""Image i is drawn from seed i; part of the digest, so that another scheme would be another folder."""


IMAGE, LATENTS = "image.png", "latents.safetensors"
DIGESTS = "digests.json"
"""SHA-256 of each file of an image."""


class ChangedImage(Exception):
    """An image changed between two looks at it; the next start draws it again."""


@dataclass(frozen=True)
class ClassImages:
    """Class images 0, 1, 2, ... of one model, prompt and sampler."""

    folder: Path
    """Where they are, and where new ones go."""
    shared: Path | None = None
    """Where others are that can only be read."""

    @classmethod
    def of(cls, cache: Path, own: Path, *, model: str, prompt: str, sampler: Sampler, size: int) -> "ClassImages":
        """The images that these settings determine.

        Args:
            cache: folder of what jobs share.
            own: folder of the run, for what is missing in a cache that can only be read.
            model: digest of the base model.
            prompt: prompt of the class, filled in.
            sampler: how they are drawn.
            size: side in pixels.
        """
        settings = {
            "model": model,
            "prompt": prompt,
            "sampler": sampler.model_dump(by_alias=True),
            "size": size,
            "seeds": SEED_SCHEME,
        }
        name = digest_of(settings)[:24]
        shared = cache / "class-images" / name
        images = cls(shared) if is_writable(shared) else cls(own / name, shared)
        if not images._settings.exists():
            write_json(images._settings, settings)
        return images

    def has(self, index: int) -> bool:
        """Whether an image is there and as it was stored."""
        return self._found(index) is not None

    def missing(self, count: int) -> list[int]:
        """Indices below `count` that are still to be drawn."""
        return [index for index in range(count) if not self.has(index)]

    def add(self, index: int, image: Image.Image, latents_CHW: Tensor) -> None:
        """Stores an image; where two jobs store the same one, the first stays."""
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
            ChangedImage: One is not as it was stored.
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
        # The very bytes that are used are those that are compared.
        if digests is None or hashlib.sha256(content).hexdigest() != digests[LATENTS]:
            raise ChangedImage(
                f"class image {index} in {self.folder} changed just now; start again, and it is drawn anew"
            )
        return load(content)["latents"]


def _digests(folder: Path) -> dict[str, str] | None:
    """The digests of an image if its files have them."""
    try:
        digests: dict[str, str] = json.loads((folder / DIGESTS).read_text())
        whole = all(digests[name] == sha256_of(folder / name) for name in (IMAGE, LATENTS))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digests if whole else None
