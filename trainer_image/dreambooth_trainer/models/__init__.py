"""Model families. `load` finds the family of a checkpoint. Importable without torch."""

from typing import TYPE_CHECKING

from dreambooth_api.training import Model, Quantization
from dreambooth_trainer.models.identity import Identity, identify

if TYPE_CHECKING:
    from dreambooth_trainer.models.base import ModelFamily
    from dreambooth_trainer.process.distributed import Distributed

__all__ = ["Identity", "identify", "load"]


def load(
    model: Model,
    distributed: "Distributed",
    mixed_precision: str,
    digest: str | None = None,
    *,
    exact: bool = False,
    quantization: Quantization = "none",
) -> "ModelFamily":
    """Loads a model, frozen, on the device of this process.

    Args:
        model: where the model is.
        distributed: the processes of the run.
        mixed_precision: see `training.mixedPrecision`.
        digest: the digest that `identify` returns, if it is known.
        exact: whether the denoiser's weights are float32, for training or export, and not rounded for the arithmetic.
        quantization: see `training.quantization`.

    Raises:
        ModelUnavailable: the model does not exist, is incomplete, or is of an unknown family.
    """
    import torch

    from dreambooth_trainer.models.loading import load_model

    precision = distributed.precision(mixed_precision)
    # TF32 has the mantissa of float16. By default, PyTorch uses it in convolutions, but not in matrix products.
    torch.backends.cudnn.allow_tf32 = precision != torch.float32
    weights = torch.float32 if exact else precision
    loaded = load_model(model, distributed.device, precision, digest, weights=weights)
    loaded.quantize(quantization)
    return loaded
