"""Puts everything that a training step reads on the device: latents of photos and class images, token ids of the prompts.

Some hundred images are a few megabytes. Computed anew at each start, since that takes less time than reading it back would.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreambooth_trainer.class_images import ClassImages
from dreambooth_trainer.models.family import Conditioning, LatentMoments
from dreambooth_trainer.phases.prior import ClassImagesDrawn
from dreambooth_trainer.run import Run


@dataclass(frozen=True)
class Cached:
    """What a training step reads, on the device."""

    photos: LatentMoments
    """Moments of the photos' latents, [P, C, H, W]."""
    class_latents: Tensor
    """Latents of the class images, [K, C, H, W]; K is 0 without prior preservation."""
    class_prompt_K: Tensor
    """Which prompt, a row of `ids_QL`, each class image belongs to."""
    ids_QL: Tensor
    """Token ids of the prompts: first the subject's, then those of the class images."""
    conditioning: Conditioning
    """Conditioning of these prompts by the base model's text encoder."""


def run(run: Run, prior: ClassImagesDrawn | None) -> Cached:
    """Encodes photos and prompts and reads the class images' latents."""
    with run.progress.phase("cache"), torch.no_grad():
        device = run.world.device
        photos = run.model.encode_images(read_pictures(run.folder.photos).to(device))
        sets = prior.sets if prior else []
        latents = [ClassImages(Path(one.folder)).latents(range(one.count)).to(device) for one in sets]
        ids = run.model.tokenize([run.fill(run.config.subject.prompt), *(one.prompt for one in sets)])
        return Cached(
            photos=photos,
            class_latents=torch.cat([photos.mean_BCHW[:0], *latents]),
            class_prompt_K=torch.tensor(
                [row for row, one in enumerate(sets, 1) for _ in range(one.count)], dtype=torch.long, device=device
            ),
            ids_QL=ids,
            conditioning=run.model.encode_tokens(ids),
        )


def read_pictures(folder: Path) -> Tensor:
    """PNG pictures of a folder by name, [N, 3, H, W] in -1..1."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
