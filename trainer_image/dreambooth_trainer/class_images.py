"""The shared cache of class images: one folder for everything that determines them, one folder in it for each image.

Filled by the `prior` phase of any job of the class, also of several at the same time, and read by `cache`.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreambooth_trainer.config import Sampler
from dreambooth_trainer.storage import atomic_folder, digest_of, write_json

SEED_SCHEME = "index"
"""Image i is drawn from seed i; part of the digest, so that another scheme would be another folder."""


@dataclass(frozen=True)
class ClassImages:
    """Class images 0, 1, 2, ... of one model, prompt and sampler."""

    folder: Path

    @classmethod
    def of(cls, cache: Path, *, model: str, prompt: str, sampler: Sampler, size: int) -> "ClassImages":
        """The images that these settings determine.

        Args:
            cache: folder of what jobs share.
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
        images = cls(cache / "class-images" / digest_of(settings)[:24])
        if not images._settings.exists():
            write_json(images._settings, settings)
        return images

    def has(self, index: int) -> bool:
        """Whether an image is there, whole and readable."""
        try:
            load_file(self._latents(index))
            with Image.open(self.image(index)) as image:
                image.verify()
        except (OSError, SafetensorError, SyntaxError):  # Pillow calls a broken PNG a syntax error.
            return False
        return True

    def missing(self, count: int) -> list[int]:
        """Indices below `count` that are still to be drawn."""
        return [index for index in range(count) if not self.has(index)]

    def add(self, index: int, image: Image.Image, latents_CHW: Tensor) -> None:
        """Stores an image; where two jobs store the same one, the first stays."""
        if not self.has(index):
            shutil.rmtree(self._folder(index), ignore_errors=True)
        with atomic_folder(self._folder(index), replace=False) as folder:
            image.save(folder / "image.png")
            save_file({"latents": latents_CHW.contiguous().cpu()}, folder / "latents.safetensors")

    def image(self, index: int) -> Path:
        """The picture of an image (PNG)."""
        return self._folder(index) / "image.png"

    def latents(self, indices: Sequence[int]) -> Tensor:
        """Latents of images, [N, C, H, W]."""
        return torch.stack([load_file(self._latents(index))["latents"] for index in indices])

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def _folder(self, index: int) -> Path:
        return self.folder / f"{index:06d}"

    def _latents(self, index: int) -> Path:
        return self._folder(index) / "latents.safetensors"
