"""Speed and memory of training steps and of the generation of pictures, without start-up and files, and what the plan says of
them. Used by `parts.py`.

Weights and inputs are random. The comparison with a complete run shows the cost of the other work.
"""

import gc
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from benchmarks.gpu.sizes import write
from dreambooth_api.training import Model, TrainConfig
from dreambooth_trainer.evaluation.pictures import sampler_of
from dreambooth_trainer.models.base import LatentMoments, exact_weights
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.planning.inputs import Counts, Inputs, prompt_of
from dreambooth_trainer.planning.phases import Target
from dreambooth_trainer.planning.plan import plan_run
from dreambooth_trainer.planning.weightless import load_weightless
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.engine import Engine
from dreambooth_trainer.training.micro_batches import micro_batches
from dreambooth_trainer.training.module import DreamBoothModule

FIRST_STEPS = 8
"""Steps before the measurement: warm-up and capture."""

AT_ONCE = 10
"""Steps between two looks at the clock."""

SECONDS = 2.5
"""Seconds of steps that are measured."""

PICTURES = 4
"""Pictures that are generated at once."""

GIB = 2**30

Figures: TypeAlias = dict[str, float | str]

TITLES = {
    "stepsPerSecond": "steps/s",
    "firstStepsSeconds": f"first {FIRST_STEPS}, s",
    "plannedGib": "planned, GiB",
    "allocatedGib": "allocated",
    "reservedGib": "reserved",
    "pictureStepsPerSecond": f"{PICTURES} pictures: steps/s",
    "plannedPicturesGib": "planned, GiB",
    "allocatedPicturesGib": "allocated",
    "reservedPicturesGib": "reserved",
}
"""Columns of the table."""


@dataclass(frozen=True)
class Case:
    """A training that is measured."""

    model: str
    """Its name in `sizes.py`."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Section of a manifest."""
    prior: bool = True
    """Whether a batch has as many class images as photos."""

    def __str__(self) -> str:
        settings = {"batchSize": 1, "method": "full", **self.training}
        size, method = settings.pop("batchSize"), settings.pop("method")
        return ", ".join(
            [f"{self.model} {method} {size}{f'+{size}' if self.prior else ''}", *map(_words, settings.items())]
        )

    def config(self, models: Path, *, small: bool) -> TrainConfig:
        """The run, whose model is in a folder of models.

        Four pictures are generated at once, so that one generation is that of the class images and of the samples.
        """
        resolution = {"resolution": 64} if small else {}
        pictures = {"prompts": ["a {identifier} {class} on a beach"], "perPrompt": PICTURES}
        return TrainConfig.model_validate(
            {
                "model": {"source": str(models / self.model)},
                "subject": {"class": "dog", "identifier": "sks", "images": {"configMap": {"name": "photos"}}},
                "prior": {"images": 64, "batchSize": PICTURES} if self.prior else {"enabled": False},
                "training": {
                    "batchSize": 1,
                    "trainTextEncoder": False,
                    "mixedPrecision": "bf16",
                    **resolution,
                    **self.training,
                },
                "samples": {**pictures, "steps": 4},
                "evaluation": {"enabled": False},
            }
        )


LORA = {"method": "lora"}
CHECKPOINTING = {"gradientCheckpointing": True}

STABLE_DIFFUSION = (
    Case("sd1.5"),
    Case("sd1.5", {"batchSize": 4}),
    Case("sd1.5", LORA),
    Case("sd1.5", {**LORA, "batchSize": 4}),
    Case("sd1.5", {**LORA, "lora": {"useDora": True}}),
    Case("sd1.5", {"trainTextEncoder": True}),
    Case("sd1.5", {"ema": {"enabled": True}}),
    Case("sd1.5", CHECKPOINTING),
    Case("sd1.5", {"mixedPrecision": "fp32"}),
    Case("sdxl", LORA),
    Case("sdxl", LORA, prior=False),
    Case("sdxl", CHECKPOINTING),
)

FLOW_TRANSFORMERS = (
    Case("klein-4b", LORA),
    Case("z-image", LORA),
    Case("flux1-dev", LORA),
    Case("flux1-dev", {**LORA, **CHECKPOINTING}),
    Case("flux1-dev", {**LORA, **CHECKPOINTING, "quantization": "int8"}),
    Case("flux1-dev", {**LORA, **CHECKPOINTING, "quantization": "nf4"}),
    Case("qwen-image", {**LORA, **CHECKPOINTING}),
    Case("krea2", {**LORA, **CHECKPOINTING}),
    Case("klein-4b", CHECKPOINTING),
)


def measure_cases(cases: Sequence[Case], folder: Path, *, small: bool) -> Iterator[tuple[str, Figures]]:
    """Measures one case after the other. Other processes compute the plans meanwhile.

    Args:
        cases: the cases.
        folder: folder of the models, which are written.
        small: whether the models are small ones.

    Yields:
        The name of a case and its figures: steps per second, pictures per second, and, on a GPU, memory in GiB. A case for
        which the memory is too small, or that fails, has an `error` instead.
    """
    distributed = Distributed.from_environment()
    distributed.connect()
    for name in dict.fromkeys(case.model for case in cases):
        write(name, folder / name, small=small)
    # Processes that are forked could not use the GPU's libraries.
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) // 2), multiprocessing.get_context("spawn")) as pool:
        configs = [case.config(folder, small=small) for case in cases]
        plans = [pool.submit(_planned, config) for config in configs]
        for case, config, plan in zip(cases, configs, plans, strict=True):
            try:
                measured = _measure(config, distributed)
            except (RuntimeError, ValueError) as error:
                measured = {"error": str(error).splitlines()[0]}
            yield str(case), measured | plan.result()


def table(cases: Mapping[str, Figures]) -> str:
    """A Markdown table of cases."""

    def cell(value: float | str | None) -> str:
        return f"{value:.2f}" if isinstance(value, float) else value or ""

    rows = [
        f"| {name} | {' | '.join(cell(figures.get(column)) for column in TITLES)} | {cell(figures.get('error'))} |"
        for name, figures in cases.items()
    ]
    return "\n".join(
        [f"| step alone | {' | '.join(TITLES.values())} | error |", f"|---|{'---:|' * len(TITLES)}---|", *rows]
    )


def _planned(config: TrainConfig) -> Figures:
    """What `dreambooth plan` says of the training, and of the generation of pictures, in GiB."""
    phases = {phase.phase: phase for phase in plan_run(config, Target()).phases}
    return {"plannedGib": phases["train"].peak / GIB, "plannedPicturesGib": phases["sample"].peak / GIB}


def _measure(config: TrainConfig, distributed: Distributed) -> Figures:
    training, device = config.training, distributed.device
    precision = distributed.precision(training.mixed_precision)
    model = random_model(Path(config.model.source), device, precision, exact=training.method == "full")
    model.quantize(training.quantization)
    side = training.resolution or model.resolution
    prompt = prompt_of(model, config)
    model.device = device
    with device, model.encoding():
        inputs = Inputs.of(model, side, {name: value.to(device) for name, value in prompt.items()})
        dataset = _random(inputs.dataset(Counts.of(config)))
    measured: Figures = {}
    if training.method != "full":
        _reset_peak(device)
        begun = _now(device)
        model.generate(["a dog"] * PICTURES, range(PICTURES), sampler_of(config.samples), side)
        measured["pictureStepsPerSecond"] = PICTURES * config.samples.steps / (_now(device) - begun)
        measured |= _peak(device, "Pictures")
    model.keep_trained_parts(text_encoders=training.train_text_encoder)
    _reset_peak(device)
    module = DreamBoothModule(model, training, config.prior.weight)
    engine = Engine(module, config.deepspeed, distributed, precision)
    step = 0

    def take(count: int) -> None:
        nonlocal step
        for _ in range(count):
            engine.step(step, micro_batches([dataset], 0, step, engine.division))
            step += 1

    begun = _now(device)
    take(FIRST_STEPS)
    measured["firstStepsSeconds"] = _now(device) - begun
    begun, before = _now(device), step
    while _now(device) < begun + SECONDS:
        take(AT_ONCE)
    measured["stepsPerSecond"] = (step - before) / (_now(device) - begun)
    measured |= _peak(device, "")
    engine.close()
    return measured


def random_model(folder: Path, device: torch.device, precision: torch.dtype, *, exact: bool) -> LatentDiffusion:
    """A model of the sizes of a folder's configurations with random weights.

    Args:
        folder: the configurations.
        device: the device, on which the weights are made.
        precision: number format of the arithmetic.
        exact: whether the denoiser's weights are float32.
    """
    model = load_weightless(Model(source=str(folder)), device.type, precision)
    formats = model.weight_formats(torch.float32 if exact else precision, precision)
    for name, part in model.parts.items():
        made_part = _random_part(part, device, formats.get(name, formats["default"]))
        setattr(model.pipeline, name, made_part.to("cpu"))
    made = type(model)(model.pipeline, device=device, precision=precision, digest="", commit=None, origin=folder)
    made.choose_kernels(device.type)
    return made


def _random_part(part: Any, device: torch.device, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            made: nn.Module = (
                type(part).from_config(part.config) if hasattr(part, "from_config") else type(part)(part.config)
            )
    finally:
        torch.set_default_dtype(usual)
    exact = exact_weights(made, dtype)
    for name, weights in made.named_parameters():
        if name in exact:
            weights.data = weights.data.float()
        elif name.endswith("pad_token"):
            # They are not initialised.
            weights.data.normal_()
    return made


@torch.no_grad()
def _random(dataset: Dataset) -> Dataset:
    """Fills the pictures of a dataset; arithmetic with zeros would take less power."""
    moments: LatentMoments = dataset.photos
    pool = [dataset.class_pool.noisy_NCHW, dataset.class_pool.target_NCHW] if dataset.class_pool else list[Tensor]()
    for tensor in (moments.mean_BCHW, moments.std_BCHW, dataset.class_latents, *pool):
        tensor.normal_()
    return dataset


def _words(setting: tuple[str, Any]) -> str:
    """A setting for a table: `gradientCheckpointing`, `mixedPrecision fp32`."""
    name, value = setting
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(each)}" if each[0] != "enabled" else name for each in value.items())
    return name if value is True else f"{name} {value}"


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _reset_peak(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: torch.device, of: str) -> Figures:
    if device.type != "cuda":
        return {}
    peaks = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    return {f"{name}{of}Gib": value / GIB for name, value in peaks.items()}
