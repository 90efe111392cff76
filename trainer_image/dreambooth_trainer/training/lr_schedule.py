"""Learning rate schedules."""

import math

from dreambooth_api.training import Training


def learning_rate_factor(step: int, training: Training) -> float:
    """Factor of the peak learning rate at a step, counted from 0: linear warm-up, then the schedule."""
    if step < training.warmup_steps:
        return (step + 1) / training.warmup_steps
    progress = (step - training.warmup_steps) / max(1, training.steps - training.warmup_steps)
    match training.lr_scheduler:
        case "constant":
            return 1.0
        case "linear":
            return 1 - progress
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
