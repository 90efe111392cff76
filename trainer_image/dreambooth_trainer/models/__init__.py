"""Model families. `load` tells which one a checkpoint belongs to."""

from dreambooth_api.training import Model
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.models.stable_diffusion.loading import load_stable_diffusion
from dreambooth_trainer.process.distributed import World

__all__ = ["ModelFamily", "load"]


def load(model: Model, world: World, mixed_precision: str) -> ModelFamily:
    """Loads a model, frozen, on the world's device.

    Raises:
        ModelUnavailable: it is not there, incomplete, or of no known family.
    """
    return load_stable_diffusion(model, world.device, world.precision(mixed_precision))
