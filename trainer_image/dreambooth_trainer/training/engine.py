"""The use of DeepSpeed by the `train` phase: configuration, optimizer steps, checkpoints, and gathering of weights."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor

from dreambooth_api.training import DeepSpeed, Training
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.training.captured import CapturedStep
from dreambooth_trainer.training.division import Division, divide
from dreambooth_trainer.training.ema import Average
from dreambooth_trainer.training.lr_schedule import learning_rate_factor
from dreambooth_trainer.training.master_weights import Masters
from dreambooth_trainer.training.micro_batches import MicroBatch
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.snapshot import restore_state, state_of
from dreambooth_trainer.training.state import State, StateReader
from dreambooth_trainer.training.zero_stage import LARGEST_BUCKET, zero_stage


def deepspeed_config(
    training: Training, settings: DeepSpeed, division: Division, *, stage: int, precision: torch.dtype, parameters: int
) -> dict[str, Any]:
    """DeepSpeed's configuration (JSON schema of its documentation).

    Args:
        training: the settings of the training.
        settings: the settings of DeepSpeed.
        division: the share of this process.
        stage: ZeRO stage.
        precision: number format of the arithmetic.
        parameters: number of trained parameters.
    """
    offload = {
        "offload_optimizer": settings.offload.optimizer and stage > 0,
        "offload_param": settings.offload.parameters and stage == 3,
    }
    return {
        "train_micro_batch_size_per_gpu": division.at_once,
        "gradient_accumulation_steps": len(division.parts),
        "zero_optimization": {
            "stage": stage,
            # Else training adapters of some megabytes would take a gigabyte.
            "reduce_bucket_size": min(LARGEST_BUCKET, parameters),
            **{name: {"device": "cpu"} for name, wanted in offload.items() if wanted},
        },
        "bf16": {"enabled": precision == torch.bfloat16 and stage > 0},
        "torch_autocast": {"enabled": precision == torch.bfloat16 and stage == 0, "dtype": "bfloat16"},
        "fp16": {"enabled": precision == torch.float16},
        # Without a ZeRO optimizer, this module clips the gradients, since DeepSpeed would not return their norm.
        "gradient_clipping": training.max_grad_norm if stage > 0 else 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }


@dataclass(frozen=True)
class StepOutcome:
    """Results of a step for the log, on the device: reading them would make the host wait."""

    losses: Tensor
    """Of the subject and of the class, [2]."""
    learning_rate: float
    grad_norm: Tensor | float | None


class Engine:
    """Trains a `DreamBoothModule` with DeepSpeed. All processes must make the same calls.

    Without sharding, PyTorch's optimizer updates the parameters themselves, in float32. They are rounded for the
    arithmetic: by autocast on several devices, and by `CapturedStep`, which then runs the steps, on one device.
    DeepSpeed's alternative, master weights and rounded weights, takes twice the time for an update and rounds the
    gradients.
    """

    def __init__(
        self,
        module: DreamBoothModule,
        settings: DeepSpeed,
        distributed: Distributed,
        precision: torch.dtype,
        *,
        one_size: bool = True,
    ) -> None:
        """Prepares the training.

        Args:
            module: what is trained.
            settings: the settings of DeepSpeed.
            distributed: the processes.
            precision: number format of the arithmetic.
            one_size: whether all pictures have one size.
        """
        distributed.connect()
        training = module.training_settings
        self.division = divide(training, rank=distributed.rank, size=distributed.size, one_size=one_size)
        self.stage = self._stage(module, settings, distributed, precision)
        self._module = module
        self._distributed = distributed
        self._training = training
        sharded = self.stage > 0
        captured = not sharded and distributed.size == 1
        # DeepSpeed needs contiguous weights to broadcast and flatten them.
        module.denoiser.to(memory_format=torch.contiguous_format)
        groups = module.parameter_groups()
        self._peaks = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(
            groups,
            betas=(training.optimizer.beta1, training.optimizer.beta2),
            eps=training.optimizer.epsilon,
            weight_decay=training.optimizer.weight_decay,
            fused=not sharded,
            capturable=captured and distributed.device.type == "cuda",
        )
        # DeepSpeed makes the master weights from the rounded weights, which would lose precision of the base model.
        rounded = precision != torch.float32 and sharded
        exact = [weights.detach().cpu().clone() for _, weights in module.learning()] if rounded else []
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            config=deepspeed_config(
                training,
                settings,
                self.division,
                stage=self.stage,
                precision=precision,
                parameters=sum(weights.numel() for _, weights in module.learning()),
            ),
            dist_init_required=False,
        )
        if not sharded:
            module.denoiser.to(memory_format=torch.channels_last)
            # Else DeepSpeed copies all gradients into a bucket and back, even with one process, which takes a fifth of
            # a step.
            self._engine.enable_backward_allreduce = distributed.size > 1
            # Else autocast rounds them in every step.
            module.round_frozen_weights(precision)
        learning = dict(module.learning())
        self._captured = CapturedStep(module, self._optimizer, self.division, precision) if captured else None
        self._masters = Masters(self._optimizer, learning, stage=self.stage, rank=distributed.rank)
        for parameter, value in zip(learning.values(), exact, strict=False):
            self._masters.fill(parameter, value)
        self._average = Average(self._masters.local, training.ema.decay) if training.ema.enabled else None

    def step(self, step: int, batches: Sequence[MicroBatch]) -> StepOutcome:
        """Runs one optimizer step on the micro-batches of this process."""
        factor = learning_rate_factor(step, self._training)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            _set_learning_rate(group, peak * factor)
        losses, norm = (self._captured or self._by_deepspeed)(batches)
        if self._average:
            self._average.update(self._masters.local, step)
        return StepOutcome(losses, self._peaks[0] * factor, norm)

    def _by_deepspeed(self, batches: Sequence[MicroBatch]) -> tuple[Tensor, Tensor | float | None]:
        """Runs a step whose gradients or states are shared with other processes."""
        training, losses = self._training, []
        norm: Tensor | None = None
        for batch in batches:
            loss = self._engine(*batch)
            self._engine.backward(loss.total)
            if self.stage == 0 and self._engine.is_gradient_accumulation_boundary():
                norm = torch.nn.utils.clip_grad_norm_(
                    [parameter for _, parameter in self._module.learning()], training.max_grad_norm
                )
            self._engine.step()
            losses.append(torch.stack([loss.subject, loss.class_]).detach())
        return torch.stack(losses).mean(0), norm if norm is not None else self._engine.get_global_grad_norm()

    def state(self) -> State:
        """What this process contributes to a checkpoint."""
        # Without sharding, every process holds all weights: the processes share out the work.
        share = (self._distributed.rank, self._distributed.size) if self.stage == 0 else (0, 1)
        return state_of(self._masters, self._average, share)

    def load(self, files: Sequence[Path]) -> None:
        """Loads the state of a checkpoint, whatever number of processes and ZeRO stage wrote it.

        Args:
            files: the files of all processes that wrote it.
        """
        with StateReader(files) as reader:
            restore_state(reader, self._masters, self._average)

    def gather(self) -> dict[str, Tensor]:
        """The complete trained weights, or their average if there is one, in float32 on the CPU of the main process;
        empty in the other processes. The training can continue."""
        gathered: dict[str, Tensor] = {}
        with self._average.in_place_of(self._masters.local) if self._average else nullcontext():
            for name, parameter in self._module.learning():
                whole = self._masters.whole(parameter)
                if self._distributed.is_main:
                    gathered[name] = whole.detach().cpu().contiguous().clone()
        return gathered

    def close(self) -> None:
        """Frees the optimizer's memory."""
        self._engine.destroy()

    @staticmethod
    def _stage(module: DreamBoothModule, settings: DeepSpeed, distributed: Distributed, precision: torch.dtype) -> int:
        learning = sum(parameter.numel() for _, parameter in module.learning())
        return zero_stage(
            settings,
            learning,
            precision,
            memory=distributed.memory,
            processes=distributed.size,
            quantized=module.training_settings.quantization != "none",
        )


def _set_learning_rate(group: dict[str, Any], rate: float) -> None:
    """Sets the learning rate of a parameter group, on the device if a CUDA graph reads it."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
