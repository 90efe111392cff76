"""Chooses the ZeRO stage of a training. Used by `engine.py`, and by the plan of a run."""

import torch

from dreambooth_api.training import DeepSpeed

BYTES_OF_STATE = {torch.float32: (4, 4, 8), torch.bfloat16: (2, 2, 12), torch.float16: (2, 2, 12)}
"""Bytes of weights, gradients, and optimizer states (including the float32 master weights) of one parameter."""

SHARE_FOR_STATE = 0.6
"""Share of a device's memory that the states may take. The rest is for activations and pictures."""

LARGEST_BUCKET = 500_000_000
"""Most gradients that are reduced at once: DeepSpeed's default. It always allocates a buffer for as many as it may reduce."""


def plan_zero_stage(*, parameters: int, precision: torch.dtype, memory: int, processes: int) -> int:
    """The lowest ZeRO stage at which the states of a training fit into memory (memory model of Rajbhandari et al.,
    arXiv:1910.02054, section 3).

    Args:
        parameters: number of trained parameters.
        precision: number format of weights and gradients.
        memory: bytes of each device.
        processes: devices that share the states.
    """
    weights, gradients, states = BYTES_OF_STATE[precision]
    shards = processes
    needs = [
        weights + gradients + states,
        weights + gradients + states / shards,
        weights + (gradients + states) / shards,
    ]
    fitting = (stage for stage, need in enumerate(needs) if parameters * need <= memory * SHARE_FOR_STATE)
    return next(fitting, 3) if processes > 1 else 0


def zero_stage(
    settings: DeepSpeed,
    parameters: int,
    precision: torch.dtype,
    *,
    memory: int,
    processes: int,
    quantized: bool = False,
) -> int:
    """The ZeRO stage of a training: the one in the manifest, or the lowest that fits.

    Args:
        settings: the settings of DeepSpeed.
        parameters: number of trained parameters.
        precision: number format of weights and gradients.
        memory: bytes of each device.
        processes: devices that share the states.
        quantized: whether frozen weights are quantized, which can't be sharded.
    """
    if settings.zero_stage != "auto":
        return settings.zero_stage
    if settings.offload.parameters:
        return 3
    planned = plan_zero_stage(parameters=parameters, precision=precision, memory=memory, processes=processes)
    # fp16 needs loss scaling, which DeepSpeed has only for stage 1 and higher.
    lowest = 1 if settings.offload.optimizer or precision == torch.float16 else 0
    return min(max(planned, lowest), 2 if quantized else 3)
