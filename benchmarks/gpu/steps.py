"""Speed and memory of the training step alone, without start-up, files and pictures. Used by `parts.py`.

The latents are random. The comparison with a complete run shows the cost of the other work.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from dreambooth_api.training import DeepSpeed, Training
from dreambooth_trainer.models.base import Framing, LatentMoments
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.training.batch import Noised
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.engine import Engine
from dreambooth_trainer.training.module import DreamBoothModule

CASES: Mapping[str, Mapping[str, Any]] = {
    "full 1+1": {},
    "full 4+4": {"batchSize": 4},
    "full 1+1, text encoder": {"trainTextEncoder": True},
    "full 1+1, min-SNR, EMA": {"minSnrGamma": 5, "ema": {"enabled": True}},
    "full 1+1, checkpointing": {"gradientCheckpointing": True},
    "full 1+1, float32": {"mixedPrecision": "fp32"},
    "lora 1+1": {"method": "lora"},
    "lora 4+4": {"method": "lora", "batchSize": 4},
}
"""`training` sections of a manifest, by case."""

FIRST_STEPS = 8
"""Steps before the measurement: warm-up and capture."""

PHOTOS, POOL = 5, 64
"""Number of photos, and of noisy class images, from which batches are selected."""


def measure_steps(
    build: Callable[[], StableDiffusionPipeline], latent: int, steps: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Measures one case after the other.

    Args:
        build: creates the base model.
        latent: side of the latents; 64 for pictures of 512 pixels.
        steps: number of measured steps.

    Yields:
        The name of a case; its steps per second, and, on a GPU, the peak of allocated and of reserved memory in GiB.
    """
    distributed = Distributed.from_environment()
    for name, settings in CASES.items():
        yield name, _measure(build, distributed, Training.model_validate(settings), latent, steps)


def _measure(
    build: Callable[[], StableDiffusionPipeline], distributed: Distributed, training: Training, latent: int, steps: int
) -> dict[str, float]:
    device, gpu = distributed.device, distributed.device.type == "cuda"
    precision = distributed.precision(training.mixed_precision)
    gc.collect()
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with torch.device(device):
        pipeline = build()
    model = StableDiffusion(pipeline, device=device, precision=precision, digest="", commit=None)
    engine = Engine(
        DreamBoothModule(model, training, prior_weight=1.0), DeepSpeed(zero_stage=0), distributed, precision
    )
    dataset = _random_dataset(model, latent)
    begun = 0.0
    for step in range(FIRST_STEPS + steps):
        if step == FIRST_STEPS:
            _wait(gpu)
            begun = time.perf_counter()
        engine.step(step, dataset.randomness(0, step, engine.division.batch), dataset)
    _wait(gpu)
    measured = {"stepsPerSecond": steps / (time.perf_counter() - begun)}
    if gpu:
        measured["allocatedGib"] = torch.cuda.max_memory_allocated() / 2**30
        measured["reservedGib"] = torch.cuda.max_memory_reserved() / 2**30
    engine.close()
    return measured


@torch.no_grad()
def _random_dataset(model: StableDiffusion, latent: int) -> Dataset:
    device = model.device
    tokens = model.tokenize(["a sks dog", "a dog"])
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    def of_pool(value: int) -> torch.Tensor:
        return torch.full((POOL,), value, device=device)

    photos, pool = (PHOTOS, 4, latent, latent), (POOL, 4, latent, latent)
    return Dataset(
        photos=LatentMoments(normal(*photos), normal(*photos).abs()),
        class_latents=normal(*pool),
        class_prompt_K=of_pool(1),
        tokens=tokens,
        prompts=model.encode_prompts(tokens),
        images=model.encode_framings([Framing(8 * latent, 8 * latent)] * (PHOTOS + POOL), 8 * latent),
        class_pool=Noised(
            normal(*pool), of_pool(500), normal(*pool), of_pool(1), torch.arange(POOL, device=device) + PHOTOS
        ),
    )


def _wait(gpu: bool) -> None:
    if gpu:
        torch.cuda.synchronize()
