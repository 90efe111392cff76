"""A step's forward pass on a fake GPU: fake tensors have shapes and devices, but no values that a host could read.

What a CUDA graph can't record fails here too: a value that the host reads, a tensor on another device, a shape that
depends on data. A family whose shapes depend on the prompts has to say so, and must fail. The backward pass needs a real
device (see `test_gpu.py`).
"""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from dreambooth_api.training import Training
from dreambooth_trainer.models.base import Framing, LatentMoments, Tensors
from dreambooth_trainer.models.loading import MODELS
from dreambooth_trainer.models.objectives.ddpm import Ddpm
from dreambooth_trainer.training.batch import Noised
from dreambooth_trainer.training.dataset import CaptionDropout, Dataset
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.randomness import StepRandomness
from tests.trainer.tiny_flow import FlowFamily, build_flow
from tests.trainer.tiny_models import Layout, build

GPU = torch.device("cuda")
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"method": "lora"},
    "text encoder": {"trainTextEncoder": True},
    "text encoder's adapters": {"trainTextEncoder": True, "method": "lora"},
    "min-SNR": {"minSnrGamma": 5},
    "checkpointing": {"gradientCheckpointing": True},
    "int8": {"method": "lora", "quantization": "int8"},
    "nf4": {"method": "lora", "quantization": "nf4", "gradientCheckpointing": True},
    "nf4, DoRA": {"method": "lora", "quantization": "nf4", "lora": {"useDora": True}},
}


def pretended(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=GPU)


def like(tensors: Tensors) -> Tensors:
    return {name: pretended(*value.shape, dtype=value.dtype) for name, value in tensors.items()}


def move_to_pretended_gpu(module: DreamBoothModule) -> None:
    """Replaces all weights by fake ones."""
    for part in (
        *module.modules(),
        *(layer for encoder in module.model.text_encoders.values() for layer in encoder.modules()),
    ):
        for name, parameter in part.named_parameters(recurse=False):
            part.register_parameter(name, nn.Parameter(pretended(*parameter.shape), parameter.requires_grad))
        for name, buffer in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, pretended(*buffer.shape, dtype=buffer.dtype))
        # The steps before the capture move them.
        for name, constant in vars(part).items():
            if isinstance(constant, Tensor):
                setattr(part, name, pretended(*constant.shape, dtype=constant.dtype))


def dataset_of(
    conditioning: dict[str, Tensors], shape: torch.Size, timesteps: torch.dtype, class_pool: bool
) -> Dataset:
    """Three photos and eight class images with latents of a shape."""
    photos, pool, index = (3, *shape), (8, *shape), torch.long
    rows = pretended(8, dtype=index)
    noised = Noised(pretended(*pool), pretended(8, dtype=timesteps), pretended(*pool), rows, rows)
    return Dataset(
        photos=LatentMoments(pretended(*photos), pretended(*photos)),
        class_latents=pretended(*pool),
        class_prompt_K=pretended(8, dtype=index),
        **conditioning,
        class_pool=noised if class_pool else None,
    )


def with_captions_and_masks(data: Dataset, shape: torch.Size) -> Dataset:
    """The same data, whose photos have captions, which are sometimes dropped, and masks."""
    prompts, weights = pretended(3, dtype=torch.long), pretended(3, 1, *shape[1:])
    dropout = CaptionDropout(pretended(3), prompts)
    return replace(data, photo_prompt_P=prompts, caption_dropout=dropout, photo_weight_P1HW=weights)


def the_step_asks_the_device_for_nothing(pipeline: DiffusionPipeline, variant: str, class_pool: bool) -> None:
    model = MODELS[type(pipeline).__name__](
        pipeline, device=torch.device("cpu"), precision=torch.float32, digest="", commit=None
    )
    tokens = model.tokenize(["a sks dog", "a dog", ""])
    conditioning = {
        "tokens": tokens,
        "prompts": model.encode_prompts(tokens),
        "images": model.encode_framings([Framing(64, 64)] * 11, (64, 64)),
    }
    shape = model.encode_images(torch.zeros(1, 3, 64, 64)).mean_BCHW.shape[1:]
    timesteps = model.objective.timesteps(torch.zeros(1)).dtype
    training = Training.model_validate({"batchSize": 2, **VARIANTS[variant]})
    model.quantize(training.quantization)
    module = DreamBoothModule(model, training, 1.0)
    with FakeTensorMode():
        model.device = GPU
        move_to_pretended_gpu(module)
        if isinstance(model.objective, Ddpm):
            model.objective.scheduler.alphas_cumprod = pretended(1000)
        randomness = StepRandomness(
            subject_G=pretended(2, dtype=torch.long),
            class_G=pretended(2, dtype=torch.long),
            uniform_N=pretended(4),
            noise_NCHW=pretended(4, *shape),
            posterior_GCHW=pretended(2, *shape),
            caption_G=pretended(2),
        )
        conditioning = {name: like(tensors) for name, tensors in conditioning.items()}
        plain = dataset_of(conditioning, shape, timesteps, class_pool)
        for data in (plain, with_captions_and_masks(plain, shape)):
            with nullcontext() if model.fixed_shapes else pytest.raises(DynamicOutputShapeException):
                losses = module(randomness, data)
                assert losses.total.device.type == "cuda"
                with pytest.raises(DataDependentOutputException):
                    losses.total.item()


@pytest.mark.parametrize(("variant", "class_pool"), [*((name, True) for name in VARIANTS), ("full", False)])
def test_the_forward_pass_asks_the_device_for_nothing(layout: Layout, variant: str, class_pool: bool) -> None:
    the_step_asks_the_device_for_nothing(build(layout), variant, class_pool)


@pytest.mark.parametrize("variant", ["full", "lora", "checkpointing", "int8", "nf4", "nf4, DoRA"])
@pytest.mark.parametrize("family", get_args(FlowFamily))
def test_the_forward_pass_of_flow_matching_asks_the_device_for_nothing(family: FlowFamily, variant: str) -> None:
    the_step_asks_the_device_for_nothing(build_flow(family), variant, class_pool=True)
