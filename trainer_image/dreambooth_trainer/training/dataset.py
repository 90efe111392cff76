"""What a training step reads, on the device; made by `phases/cache.py`."""

from dataclasses import dataclass

from torch import Tensor

from dreambooth_trainer.models.base import Conditioning, LatentMoments
from dreambooth_trainer.training.batch import Noised
from dreambooth_trainer.training.randomness import Draw, draw_step


@dataclass(frozen=True)
class Dataset:
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
