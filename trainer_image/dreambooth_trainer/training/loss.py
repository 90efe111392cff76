"""The loss of DreamBooth: the diffusion loss on the subject plus the class-specific prior-preservation loss."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """Scalar losses of a batch."""

    total: Tensor
    subject: Tensor
    class_: Tensor
    """Zero without class images."""


def dreambooth_loss(
    prediction_NCHW: Tensor,
    target_NCHW: Tensor,
    *,
    subjects: int,
    prior_weight: float,
    place_weight_S1HW: Tensor | None = None,
    weight_N: Tensor | None = None,
) -> Losses:
    """MSE(subject) + prior_weight * MSE(class) (Ruiz et al., arXiv:2208.12242, equation 2).

    Args:
        prediction_NCHW: prediction of the denoiser; the subject's rows come first.
        target_NCHW: target of the prediction.
        subjects: rows of the subject; the rest, if any, are class images.
        prior_weight: lambda of the paper.
        place_weight_S1HW: weight of each place of the subject's rows, such as a mask's; None for equal weights.
        weight_N: weight of each row, such as min-SNR's; None for equal weights.
    """
    error_NCHW = (prediction_NCHW.float() - target_NCHW.float()).square()
    if place_weight_S1HW is not None:
        error_NCHW = torch.cat([error_NCHW[:subjects] * place_weight_S1HW, error_NCHW[subjects:]])
    error_N = error_NCHW.flatten(1).mean(1)
    if weight_N is not None:
        error_N = error_N * weight_N
    subject = error_N[:subjects].mean()
    class_ = error_N[subjects:].mean() if len(error_N) > subjects else torch.zeros_like(subject)
    return Losses(subject + prior_weight * class_, subject, class_)
