"""Model families. `load` finds the family of a checkpoint."""

from dreambooth_api.training import Model
from dreambooth_trainer.models.base import Identity, ModelFamily
from dreambooth_trainer.models.stable_diffusion.loading import identify, load_stable_diffusion
from dreambooth_trainer.process.distributed import Distributed

__all__ = ["Identity", "ModelFamily", "identify", "load"]


def load(model: Model, distributed: Distributed, mixed_precision: str, digest: str | None = None) -> ModelFamily:
    """Loads a model, frozen, on the device of this process.

    Args:
        model: where the model is.
        distributed: the processes of the run.
        mixed_precision: see `training.mixedPrecision`.
        digest: the digest that `identify` returns, if it is known.

    Raises:
        ModelUnavailable: the model does not exist, is incomplete, or is of an unknown family.
    """
    return load_stable_diffusion(model, distributed.device, distributed.precision(mixed_precision), digest)
