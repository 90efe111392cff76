"""A complete small training, as a process and as a plain loop, for the tests that run, kill and compare it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.warm_start import warm_start
from dreambooth_api.failures import Interrupted
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.models.stable_diffusion.published import TEXT_MODEL
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import cache, prior
from dreambooth_trainer.phases.prepare import PreparedPhoto
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.module import DreamBoothModule
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.trainer.tiny_models import build

ROOT = Path(__file__).parents[2]


def write_model(folder: Path) -> None:
    """A model whose denoiser has 0.2 million parameters, for 64 pixels."""
    pipeline = build("1.x")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        pipeline.register_modules(
            unet=UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(16, 32),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                layers_per_block=1,
                cross_attention_dim=32,
                norm_num_groups=4,
                attention_head_dim=2,
            )
        )
    pipeline.save_pretrained(folder)


def write_photos(folder: Path, scale: int = 1) -> None:
    """Three photos of a disc, 80 pixels high before scaling."""
    folder.mkdir(parents=True)
    for number, colour in enumerate(("red", "blue", "green")):
        image = Image.new("RGB", (96, 80), "white")
        ImageDraw.Draw(image).ellipse((10 + 8 * number, 12, 60, 70), fill=colour)
        image.resize((96 * scale, 80 * scale)).save(folder / f"{number}.png")


def settings(model: Path, photos: Path, /, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a short training in float32; arguments replace single fields of a section."""
    short: dict[str, dict[str, Any]] = {
        "model": {"source": str(model)},
        "subject": {"class": "dog", "identifier": "sks", "images": {"path": str(photos)}},
        "prior": {"images": 4, "batchSize": 4, "sampler": {"steps": 2}},
        "training": {
            "steps": 6,
            "batchSize": 4,
            "learningRate": 1e-3,
            "mixedPrecision": "fp32",
            "trainTextEncoder": True,
            # Gradients that are zero but for rounding, such as those of keys' biases, must not change weights.
            "optimizer": {"epsilon": 1e-6},
        },
        "deepspeed": {"zeroStage": 0},
        "checkpoints": {"intervalSeconds": 0},
        "samples": {"prompts": ["a {identifier} {class}"], "perPrompt": 1, "steps": 2, "guidanceScale": 1},
        "evaluation": {"enabled": False},
    }
    changed = {name: {**section, **sections.get(name, {})} for name, section in short.items()}
    if not changed["samples"]["prompts"]:
        changed["samples"].pop("perPrompt")
    off = {"enabled": False}
    return {name: off if section.get("enabled", True) is False else section for name, section in changed.items()}


def hidden_gpus(processes: int) -> dict[str, str]:
    """Variables that hide the GPUs if there are fewer than processes: NCCL needs one for each process."""
    return {"CUDA_VISIBLE_DEVICES": ""} if 0 < torch.cuda.device_count() < processes else {}


class DistributedOnCpu(Distributed):
    """A process that does not use GPUs."""

    device = torch.device("cpu")


@dataclass(frozen=True)
class Job:
    """A training that is started as pods start it."""

    folder: Path
    config: Mapping[str, Any]
    cache: Path

    @property
    def output(self) -> RunFolder:
        return RunFolder(self.folder / "output")

    @property
    def termination(self) -> dict[str, Any]:
        """The content of the termination log."""
        return dict(json.loads((self.folder / "termination.json").read_text()))

    @property
    def log(self) -> Path:
        """The output of all starts."""
        return self.folder / "log"

    def arguments(self, *more: str) -> list[str]:
        """Arguments of the trainer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "train.json").write_text(json.dumps(self.config))
        return [
            *("--config", str(self.folder / "train.json")),
            *("--output", str(self.output.root), "--cache", str(self.cache)),
            *("--termination-log", str(self.folder / "termination.json"), *more),
        ]

    def start(self, *more: str, **environment: str) -> BaseProcess:
        """Starts the trainer with imported libraries."""
        return warm_start(self.arguments(*more), self.log, environment)

    def finish(self, *more: str, **environment: str) -> int:
        """Runs to the end and returns the exit code."""
        return wait(self.start(*more, **environment))

    def start_ranks(self) -> list[BaseProcess]:
        """Two processes that are one run, without a launcher that would hide their exit codes."""
        common = {
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
        }
        common |= hidden_gpus(2)
        return [self.start(RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(2)]

    def spawn(self, *launcher: str, **environment: str) -> tuple[int, str]:
        """Runs `python -m [launcher] dreambooth_trainer` to its end: exit code and output."""
        return finish(["-m", *launcher, "dreambooth_trainer", *self.arguments()], **environment)

    def exported(self) -> dict[str, Tensor]:
        """Denoiser and text encoder of the exported model, named as in a `DreamBoothModule`."""
        return weights_in(self.output.model / "diffusers")

    def run(self, processes: int = 1) -> Run:
        """The run in this process, after its first phase, on the device of a run with so many processes."""
        distributed = DistributedOnCpu() if hidden_gpus(processes) else Distributed()
        run = Run(TrainConfig.model_validate(self.config), self.output, self.cache, distributed, Progress([]))
        run.identifiers = ["sks"]
        return run

    def dataset(self, processes: int = 1) -> Dataset:
        """The dataset of its steps, from the outputs of its first phases."""
        run = self.run(processes)
        (dataset,) = cache.make_datasets(run, prepared_photos(run), prior.generate_class_images(run))
        return dataset


def weights_in(pipeline: Path) -> dict[str, Tensor]:
    """Denoiser and text encoder of a model in diffusers' layout, named as in a `DreamBoothModule`."""
    files = {"denoiser": pipeline / "unet", "text_encoder": pipeline / "text_encoder"}
    return {
        f"{part}.{name.removeprefix(TEXT_MODEL)}": tensor
        for part, folder in files.items()
        for name, tensor in load_file(next(folder.glob("*.safetensors"))).items()
    }


def job_of(root: Path, name: str, **sections: Mapping[str, Any]) -> Job:
    """A short training of the model and the photos in a folder; arguments replace single fields of a section."""
    return Job(root / name, settings(root / "model", root / "photos", **sections), root / "cache")


def with_section(job: Job, **sections: Mapping[str, Any]) -> Job:
    """The same run with other settings; arguments replace single fields of a section."""
    changed = {name: {**job.config.get(name, {}), **fields} for name, fields in sections.items()}
    return Job(job.folder, {**job.config, **changed}, job.cache)


def interrupted(job: Job) -> Job:
    """A run that was stopped after its first step."""
    process = job.start()
    signal_when(process, signal.SIGTERM, lambda: job.output.losses.exists() and job.output.losses.stat().st_size > 0)
    assert wait(process) == Interrupted.exit_code
    return job


def killed(job: Job) -> Job:
    """A run with checkpoints as often as possible that was killed after two of them."""
    often = with_section(job, checkpoints={"intervalSeconds": 0})
    process = often.start()
    signal_when(process, signal.SIGKILL, lambda: len(list(often.output.checkpoints.glob("step-*"))) > 1)
    assert wait(process) == -signal.SIGKILL
    return often


def assert_resumed_to(job: Job, whole: Job) -> None:
    """A finished run has resumed from a checkpoint, and has the weights of one that was not interrupted."""
    assert json.loads((job.output.state / "train.json").read_text())["result"]["resumedAt"] > 0
    found, wanted = job.exported(), whole.exported()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def job_with_nan(root: Path, name: str) -> Job:
    """A job whose model has a weight that is not a number."""
    model = root / f"model-of-{name}"
    shutil.copytree(root / "model", model)
    file = next((model / "unet").glob("*.safetensors"))
    weights = load_file(file)
    weights["conv_out.bias"][0] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    return job_of(root, name, model={"source": str(model)}, prior={"enabled": False})


def environment_of_processes() -> dict[str, str]:
    """The environment in which Python can import the trainer, with one thread."""
    # Libraries may be anywhere on the path of this process.
    paths = os.pathsep.join(map(str, (ROOT / "operator", ROOT / "trainer_image", ROOT, *filter(None, sys.path))))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def finish(arguments: Sequence[str], **environment: str) -> tuple[int, str]:
    """Runs Python with the trainer on its path: exit code and output."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        env=environment_of_processes() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return ended.returncode, ended.stdout


def wait(process: BaseProcess) -> int:
    """Waits for the end of a process and returns its exit code."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"still running after {PATIENCE} s")
    return process.exitcode


def signal_when(process: BaseProcess, number: signal.Signals, condition: Callable[[], bool]) -> None:
    """Sends a signal as soon as a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.is_alive(), f"ended with {process.exitcode} before the signal"
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, number)


def prepared_photos(run: Run) -> list[PreparedPhoto]:
    """The photos in a run's folder, as if the originals had been square."""
    return [
        PreparedPhoto(file=path.name, source=path.name, width=64, height=64)
        for path in sorted(run.folder.photos.glob("*.png"))
    ]


def plain_loop(run: Run, dataset: Dataset, *, batch: int) -> dict[str, Tensor]:
    """The same training as a torch loop in float32 without DeepSpeed: the trained weights, or their average if EMA is
    enabled.

    Args:
        run: whose settings and model to take.
        dataset: latents and prompts.
        batch: photos in an optimizer step.
    """
    training = run.config.training
    model = run.hand_over_model(exact=True)
    model.keep_trained_parts(text_encoders=training.train_text_encoder)
    module = DreamBoothModule(model, training, run.config.prior.weight)
    parameters = [parameter for _, parameter in module.learning()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate}
            for part, rate in (
                (module.denoiser, training.denoiser_learning_rate),
                *((encoder, training.encoder_learning_rate) for encoder in module.text_encoders.values()),
            )
        ],
        eps=training.optimizer.epsilon,
    )
    average = [parameter.detach().clone() for parameter in parameters]
    for step in range(training.steps):
        optimizer.zero_grad()
        module(dataset.randomness(training.seed, step, batch), dataset).total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
        optimizer.step()
        decay = min(training.ema.decay, (1 + step) / (10 + step))
        average = [decay * old + (1 - decay) * new.detach() for old, new in zip(average, parameters, strict=True)]
    final = average if training.ema.enabled else [parameter.detach() for parameter in parameters]
    return {name: weights.cpu() for (name, _), weights in zip(module.learning(), final, strict=True)}


def distance(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Norm of the difference of all tensors relative to the norm of the expected ones."""
    assert found.keys() == wanted.keys()
    apart = sum(float((found[name].double() - wanted[name].double()).square().sum()) for name in wanted)
    norm = sum(float(tensor.double().square().sum()) for tensor in wanted.values())
    return float((apart / norm) ** 0.5)
