"""Puts everything that a training step reads on the device: latents of photos and class images, token ids of the prompts,
what the base model predicts of noisy class images.

Some hundred images are a few megabytes. Computed anew at each start: nothing of it needs a place on the volume.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreambooth_trainer.config import fill
from dreambooth_trainer.draws import Draw, draw_step
from dreambooth_trainer.identifier import pick_words, words_of
from dreambooth_trainer.models.family import Conditioning, LatentMoments
from dreambooth_trainer.noised import Noised, add_noise, predicted_by
from dreambooth_trainer.phases.prior import ClassImagesDrawn
from dreambooth_trainer.progress import RunningPhase
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
    """Token ids [Q, L] of the prompts: first the subject's, then those of the class images, then those of other words."""
    conditioning: Conditioning
    """Conditioning of these prompts by the base model's text encoder."""
    class_pool: Noised | None = None
    """Noisy class images with the base model's predictions; None where the class loss compares with the noise."""

    def draw(self, seed: int, step: int, batch: int) -> Draw:
        """The draw of an optimizer step among these photos and class images; see `draw_step`."""
        mean_PCHW = self.photos.mean_BCHW
        return draw_step(
            seed,
            step,
            batch=batch,
            photos=len(mean_PCHW),
            class_images=len(self.class_latents) if self.class_pool is None else len(self.class_pool),
            shape_CHW=mean_PCHW.shape[1:],
            device=mean_PCHW.device,
        )


def run(run: Run, prior: ClassImagesDrawn | None) -> Cached:
    """Encodes photos and prompts and reads the class images' latents."""
    device, sets = run.world.device, prior.sets if prior else []
    noisings = run.config.prior.noisings if run.config.prior.target == "prediction" else 0
    total = noisings * sum(one.count for one in sets)
    with run.progress.phase("cache", total=total or None, unit="predictions") as phase, torch.no_grad():
        photos = run.model.encode_images(read_pictures(run.folder.photos).to(device))
        latents = [one.images.latents(range(one.count)).to(device) for one in sets]
        prompts = [run.fill(run.config.subject.prompt), *(one.prompt for one in sets)]
        others = _prompts_of_other_words(run) if any(one.prompt == "" for one in sets) else []
        ids = run.model.tokenize([*prompts, *others])
        cached = Cached(
            photos=photos,
            class_latents=torch.cat([photos.mean_BCHW[:0], *latents]),
            class_prompt_K=torch.tensor(
                [row for row, one in enumerate(sets, 1) for _ in range(one.count)], dtype=torch.long, device=device
            ),
            ids_QL=ids,
            conditioning=run.model.encode_tokens(ids),
        )
        if total == 0:
            return cached
        last = next((row for row, prompt in enumerate(prompts) if prompt == ""), None)
        prompt_RK = _prompts_of_noisings(cached.class_prompt_K, noisings, last, len(others))
        return replace(cached, class_pool=_class_pool(run, phase, cached, prompt_RK))


def _prompts_of_other_words(run: Run) -> list[str]:
    """Prompts of the class with words of the vocabulary in its place; empty where nothing is predicted of them."""
    prior, subject = run.config.prior, run.config.subject
    if prior.target == "noise":
        return []
    excluded = words_of(run.identifier, subject.class_, subject.prompt, prior.prompt)
    words = pick_words(run.model.vocabulary(), prior.other_words, excluded, run.config.training.seed)
    return [fill(prior.prompt, identifier=run.identifier, class_=word) for word in words]


def _prompts_of_noisings(prompt_K: Tensor, noisings: int, empty: int | None, others: int) -> Tensor:
    """The prompt of each noisy version of each class image, [R, K].

    It is the one that the image was drawn with, but that every other version of the images of the empty prompt gets one of the
    other words in turn.

    Args:
        prompt_K: prompt that each image was drawn with.
        noisings: versions R of each image.
        empty: the empty prompt; None where no image was drawn with it.
        others: number of prompts of other words, which are the last ones.
    """
    prompt_RK = prompt_K.repeat(noisings, 1)
    if empty is None or not others:
        return prompt_RK
    version_R1, image_K = (
        torch.arange(noisings, device=prompt_K.device)[:, None],
        torch.arange(len(prompt_K), device=prompt_K.device),
    )
    replaced_RK = (prompt_RK == empty) & ((version_R1 + image_K) % 2 == 1)
    first = int(prompt_K.max()) + 1
    prompt_RK[replaced_RK] = first + torch.arange(int(replaced_RK.sum()), device=prompt_K.device) % others
    return prompt_RK


def _class_pool(run: Run, phase: RunningPhase, cached: Cached, prompt_RK: Tensor) -> Noised:
    """Every class image with noise of several strengths, and the base model's predictions."""
    latents = cached.class_latents.repeat(len(prompt_RK), 1, 1, 1)
    generator = torch.Generator().manual_seed(run.config.training.seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    # Fractions of multiples of the golden ratio: any stretch of the pool, and any one image, spreads over all timesteps.
    uniform = (torch.arange(len(latents), dtype=torch.float64) * ((5**0.5 - 1) / 2)).remainder(1).float()
    rows = add_noise(run.model, latents, noise, uniform.to(latents.device), prompt_RK.flatten())
    targets = []
    for indices in torch.arange(len(rows), device=latents.device).split(2 * run.config.prior.batch_size):
        run.stop.check()
        targets.append(predicted_by(run.model, rows[indices], cached.conditioning))
        phase.advance(len(indices))
    return replace(rows, target_NCHW=torch.cat(targets))


def read_pictures(folder: Path) -> Tensor:
    """PNG pictures of a folder by name, [N, 3, H, W] in -1..1."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
