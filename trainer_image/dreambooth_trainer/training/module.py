"""The module that contains all trained parameters.

ZeRO, offloading and averaging thus treat denoiser, text encoder and adapters in the same way. Created by
`phases/train.py`, and by `phases/export.py` to load trained weights into a model.
"""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreambooth_api.failures import Problem
from dreambooth_api.training import Training
from dreambooth_trainer.models.base import Conditioning, ModelFamily
from dreambooth_trainer.training.batch import Noised, add_noise
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.loss import Losses, dreambooth_loss
from dreambooth_trainer.training.randomness import StepRandomness

TEXT_ENCODER_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
"""Layers of a CLIP text encoder that get adapters."""

Learner: TypeAlias = ModelMixin | PreTrainedModel
"""A module that can be trained."""

ADAPTED = nn.Linear, nn.Conv2d
"""Kinds of layers that take adapters."""

NO_GROWTH = "gaussian"
"""Initialisation of adapters: A normal, B zero, so that training starts from the base model."""


class DreamBoothModule(nn.Module):
    """Denoiser and, if it is trained, text encoder; the forward pass computes the loss of a batch.

    The model's modules are changed in place: they become trainable, or get adapters.
    """

    def __init__(self, model: ModelFamily, training: Training, prior_weight: float) -> None:
        super().__init__()
        self.model = model
        self.training_settings = training
        self.prior_weight = prior_weight
        self.denoiser = model.denoiser
        self.text_encoder = model.text_encoder if training.train_text_encoder else None
        for module, targets in self._learners():
            _make_trainable(module, training, targets)
        if training.gradient_checkpointing:
            model.denoiser.enable_gradient_checkpointing()
            if self.text_encoder is not None:
                self.text_encoder.gradient_checkpointing_enable()
        self.train()

    def forward(self, randomness: StepRandomness, dataset: Dataset) -> Losses:
        """Loss of a micro-batch.

        Args:
            randomness: random numbers of the rows of this process and this micro-batch.
            dataset: latents and prompts on the device.
        """
        photos, subjects = dataset.photos, len(randomness.subject_G)
        dtype = next(self.denoiser.parameters()).dtype
        chosen_G, posterior = randomness.subject_G, randomness.posterior_NCHW[:subjects]
        clean = photos.mean_BCHW[chosen_G] + photos.std_BCHW[chosen_G] * posterior
        first = torch.zeros_like(chosen_G)
        batch = add_noise(self.model, clean, randomness.noise_NCHW[:subjects], randomness.uniform_N[:subjects], first)
        batch = batch.followed_by(self._class_rows(randomness, dataset))
        rows = {name: value.to(dtype) for name, value in self._conditioning(batch.prompt_N, subjects, dataset).items()}
        gamma = self.training_settings.min_snr_gamma
        return dreambooth_loss(
            self.model.predict(batch.noisy_NCHW.to(dtype), batch.t_N, rows),
            batch.target_NCHW,
            subjects=subjects,
            prior_weight=self.prior_weight,
            weight_N=self.model.loss_weight(batch.t_N, gamma) if gamma else None,
        )

    def _conditioning(self, prompt_N: Tensor, subjects: int, dataset: Dataset) -> Conditioning:
        """Conditioning of each row. A trained text encoder encodes the subject's prompt only once."""
        if self.text_encoder is None:
            return {name: value[prompt_N] for name, value in dataset.conditioning.items()}
        distinct = self.model.encode_tokens(dataset.ids_QL[prompt_N[subjects - 1 :]])
        rows = torch.arange(len(prompt_N), device=prompt_N.device).sub(subjects - 1).clamp(min=0)
        return {name: value[rows] for name, value in distinct.items()}

    def _class_rows(self, randomness: StepRandomness, dataset: Dataset) -> Noised:
        if dataset.class_pool is not None:
            return dataset.class_pool[randomness.class_G]
        subjects, clean = len(randomness.subject_G), dataset.class_latents[randomness.class_G]
        noise, uniform = randomness.noise_NCHW[subjects:], randomness.uniform_N[subjects:]
        return add_noise(self.model, clean, noise, uniform, dataset.class_prompt_K[randomness.class_G])

    def learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters that are trained."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimizer, each with its peak learning rate."""
        training = self.training_settings
        groups: list[tuple[nn.Module | None, float]] = [
            (self.denoiser, training.denoiser_learning_rate),
            (self.text_encoder, training.encoder_learning_rate),
        ]
        return [
            {"params": [parameter for parameter in module.parameters() if parameter.requires_grad], "lr": rate}
            for module, rate in groups
            if module is not None
        ]

    def _learners(self) -> list[tuple[Learner, list[str]]]:
        learners = [(self.denoiser, self.training_settings.lora.targets)]
        return learners if self.text_encoder is None else [*learners, (self.text_encoder, TEXT_ENCODER_TARGETS)]


def _make_trainable(module: Learner, training: Training, targets: list[str]) -> None:
    if training.method == "full":
        module.requires_grad_(True)
        return
    from peft import LoraConfig

    lora = training.lora
    # Adapters are initialised from the global generator; every rank and every restart must initialise them equally.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        module.add_adapter(
            LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha or lora.rank,
                target_modules=list(targets),
                init_lora_weights=NO_GROWTH,
            )
        )


def unfit_targets(module: nn.Module, targets: Sequence[str]) -> Iterator[Problem]:
    """Problems of targets of adapters that match no layer of a module, or a layer that takes no adapter."""
    fitting = [name for name, layer in module.named_modules() if isinstance(layer, ADAPTED)]
    likely = Counter(_short(name) for name in fitting)
    for target in targets:
        matched = [(name, layer) for name, layer in module.named_modules() if f".{name}".endswith(f".{target}")]
        unfit = next((layer for _, layer in matched if not isinstance(layer, ADAPTED)), None)
        if matched and unfit is None:
            continue
        message = (
            f"matches a {type(unfit).__name__}, which takes no adapter" if unfit else "matches no layer of the denoiser"
        )
        close = difflib.get_close_matches(target, likely, n=3) or [name for name, _ in likely.most_common(8)]
        yield Problem(
            "spec.training.lora.targets", target, message, f"Give names of its layers, such as {', '.join(close)}"
        )


def _short(name: str) -> str:
    """The end of a layer's path, which layers of the same kind share: `to_q`, `to_out.0`."""
    *_, parent, last = ["", *name.split(".")]
    return f"{parent}.{last}" if last.isdigit() else last


def learned_tensors(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The gathered weights of one part (`denoiser`, `text_encoder`), with their names inside it."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
