"""The module that contains all trained parameters.

ZeRO, offloading and averaging thus treat denoiser, text encoder and adapters in the same way. Created by
`phases/train.py`, and by `phases/export.py` to load trained weights into a model.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreambooth_api.failures import Problem
from dreambooth_api.training import Training
from dreambooth_trainer.models.base import ModelFamily, Tensors, exact_weights
from dreambooth_trainer.training.batch import Noised, add_noise, select
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.loss import Losses, dreambooth_loss
from dreambooth_trainer.training.randomness import StepRandomness

TEXT_ENCODER_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
"""Layers of a CLIP text encoder that get adapters."""

Learner: TypeAlias = ModelMixin | PreTrainedModel
"""A module that can be trained."""

ADAPTED = nn.Linear, nn.Conv2d
"""Kinds of layers that take adapters."""

_ATTENTION = r"(.*\.)?(attn\d*|attention)\..*"
_FEED_FORWARD = r"(.*\.)?(ff|ff_context|feed_forward|img_mlp|txt_mlp)\..*"
# In FLUX.1 and Chroma, a single-stream block has no module for both; in FLUX.2, layers of its `attn` do both.
_FEED_FORWARD_OF_SINGLE_STREAM = r"(.*\.)?single_transformer_blocks\.\d+\.(proj_mlp|proj_out)"
PRESETS = {
    "attention": _ATTENTION,
    "attention+ff": "|".join([_ATTENTION, _FEED_FORWARD, _FEED_FORWARD_OF_SINGLE_STREAM]),
}
"""Names for targets of adapters: patterns of the paths, in diffusers' models of all families, of the layers that are adapted."""

NO_GROWTH = "gaussian"
"""Initialisation of adapters: A normal, B zero, so that training starts from the base model."""


class DreamBoothModule(nn.Module):
    """Denoiser and, if they are trained, text encoders; the forward pass computes the loss of a batch.

    The model's modules are changed in place: they become trainable, or get adapters.
    """

    def __init__(self, model: ModelFamily, training: Training, prior_weight: float) -> None:
        super().__init__()
        self.model = model
        self.training_settings = training
        self.prior_weight = prior_weight
        self.denoiser = model.denoiser
        self.text_encoders = dict(model.text_encoders) if training.train_text_encoder else {}
        _make_trainable(model.denoiser, training, training.lora.targets)
        for name, parameter in model.denoiser.named_parameters():
            if name.startswith(model.unread_weights):
                parameter.requires_grad_(False)
        for name, text_encoder in self.text_encoders.items():
            # Trained weights have the names of their parts.
            self.add_module(name, text_encoder)
            _make_trainable(text_encoder, training, TEXT_ENCODER_TARGETS)
        if training.gradient_checkpointing:
            model.denoiser.enable_gradient_checkpointing()
            for text_encoder in self.text_encoders.values():
                text_encoder.gradient_checkpointing_enable()
        self.train()

    def forward(self, randomness: StepRandomness, dataset: Dataset) -> Losses:
        """Loss of a micro-batch.

        Args:
            randomness: random numbers of the rows of this process and this micro-batch.
            dataset: latents and prompts on the device.
        """
        photos, subjects = dataset.photos, len(randomness.subject_G)
        chosen_G = randomness.subject_G
        batch = add_noise(
            self.model.objective,
            photos.mean_BCHW[chosen_G] + photos.std_BCHW[chosen_G] * randomness.posterior_GCHW,
            randomness.noise_NCHW[:subjects],
            randomness.uniform_N[:subjects],
            prompt_N=dataset.photo_prompts(randomness),
            image_N=chosen_G,
        ).followed_by(self._class_rows(randomness, dataset))
        prompts = self._prompts(batch.prompt_N, subjects, dataset)
        gamma = self.training_settings.min_snr_gamma
        return dreambooth_loss(
            self.model.predict(batch.noisy_NCHW, batch.t_N, prompts, select(dataset.images, batch.image_N)),
            batch.target_NCHW,
            subjects=subjects,
            prior_weight=self.prior_weight,
            place_weight_S1HW=None if dataset.photo_weight_P1HW is None else dataset.photo_weight_P1HW[chosen_G],
            weight_N=self.model.objective.loss_weight(batch.t_N, gamma) if gamma else None,
        )

    def _prompts(self, prompt_N: Tensor, subjects: int, dataset: Dataset) -> Tensors:
        """Conditioning of each row on its prompt. Trained text encoders encode a prompt of all photos only once."""
        if not self.text_encoders:
            return select(dataset.prompts, prompt_N)
        repeated = subjects - 1 if dataset.photo_prompt_P is None else 0
        distinct = self.model.encode_prompts(select(dataset.tokens, prompt_N[repeated:]))
        return select(distinct, torch.arange(len(prompt_N), device=prompt_N.device).sub(repeated).clamp(min=0))

    def _class_rows(self, randomness: StepRandomness, dataset: Dataset) -> Noised:
        chosen_G, subjects = randomness.class_G, len(randomness.subject_G)
        if dataset.class_pool is not None:
            return dataset.class_pool[chosen_G]
        return add_noise(
            self.model.objective,
            dataset.class_latents[chosen_G],
            randomness.noise_NCHW[subjects:],
            randomness.uniform_N[subjects:],
            prompt_N=dataset.class_prompt_K[chosen_G],
            image_N=dataset.class_image_K[chosen_G],
        )

    def learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters that are trained."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def exact_weights(self, precision: torch.dtype) -> set[str]:
        """Names of the weights that stay float32 in an arithmetic."""
        return {f"denoiser.{name}" for name in exact_weights(self.denoiser, precision)}

    def round_frozen_weights(self, precision: torch.dtype) -> None:
        """Converts the frozen weights to the number format of the arithmetic."""
        exact = self.exact_weights(precision)
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad and name not in exact:
                parameter.data = parameter.data.to(precision)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimizer, each with its peak learning rate."""
        training = self.training_settings
        rates: list[tuple[nn.Module, float]] = [
            (self.denoiser, training.denoiser_learning_rate),
            *((module, training.encoder_learning_rate) for module in self.text_encoders.values()),
        ]
        return [
            {"params": [parameter for parameter in module.parameters() if parameter.requires_grad], "lr": rate}
            for module, rate in rates
        ]


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
                target_modules=[name for target in targets for name in layers_of(module, target)],
                init_lora_weights=NO_GROWTH,
                use_dora=lora.use_dora,
            )
        )
    for parameter in module.parameters():
        if parameter.requires_grad:
            # peft gives adapters the number format of the layer, which is rounded.
            parameter.data = parameter.data.float()


def layers_of(module: nn.Module, target: str) -> list[str]:
    """Paths of the layers that take adapters and are a target: a preset, or the end of the path."""
    pattern = PRESETS.get(target, rf"(.*\.)?{re.escape(target)}")
    return [
        name for name, layer in module.named_modules() if isinstance(layer, ADAPTED) and re.fullmatch(pattern, name)
    ]


def unfit_targets(module: nn.Module, targets: Sequence[str]) -> Iterator[Problem]:
    """Problems of targets of adapters that match no layer of a module that takes adapters."""
    fitting = [name for name, layer in module.named_modules() if isinstance(layer, ADAPTED)]
    likely = Counter(_short(name) for name in fitting)
    for target in targets:
        if layers_of(module, target):
            continue
        others = [layer for name, layer in module.named_modules() if f".{name}".endswith(f".{target}")]
        message = (
            f"matches a {type(others[0]).__name__}, which takes no adapter"
            if others
            else "matches no layer of the denoiser"
        )
        close = difflib.get_close_matches(target, likely, n=3) or [name for name, _ in likely.most_common(8)]
        yield Problem(
            "spec.training.lora.targets",
            target,
            message,
            f"Give {' or '.join(PRESETS)}, or names of its layers, such as {', '.join(close)}",
        )


def _short(name: str) -> str:
    """The end of a layer's path, which layers of the same kind share: `to_q`, `to_out.0`."""
    *_, parent, last = ["", *name.split(".")]
    return f"{parent}.{last}" if last.isdigit() else last


def learned_tensors(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The gathered weights of one part (`denoiser`, or the name of a text encoder), with their names inside it."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
