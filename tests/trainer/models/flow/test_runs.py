"""Whole trainings of each family as pods start them."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dreambooth_api.failures import Interrupted, InvalidConfig
from tests.trainer.tiny_training import Job, distance, plain_loop, settings, signal_when, wait, write_photos

pytestmark = pytest.mark.slow

TRAINING = {"trainTextEncoder": False, "resolution": 64, "steps": 4, "batchSize": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow") / "photos"
    write_photos(folder)
    return folder


def job_of(root: Path, model: Path, photos: Path, **training: Any) -> Job:
    sections = settings(model, photos, training={**TRAINING, **training}, checkpoints={"intervalSeconds": 0})
    return Job(root, sections, root.parent / "cache")


def weights_of(job: Job) -> dict[str, torch.Tensor]:
    """The trained denoiser."""
    (file,) = (job.output.model / "diffusers" / "transformer").glob("*.safetensors")
    return load_file(file)


def test_an_interrupted_run_ends_with_the_same_weights(folder: Path, photos: Path, tmp_path: Path) -> None:
    whole, stopped = (job_of(tmp_path / name, folder, photos, method="lora") for name in ("whole", "stopped"))
    assert whole.finish() == 0, whole.log.read_text()
    process = stopped.start()
    signal_when(process, signal.SIGTERM, lambda: any(stopped.output.checkpoints.glob("step-*")))
    if wait(process) == Interrupted.exit_code:
        assert stopped.finish() == 0, stopped.log.read_text()
    found, wanted = weights_of(stopped), weights_of(whole)
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_sharded_processes_train_as_a_plain_loop(folder: Path, photos: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path / "sharded", folder, photos)
    job = Job(job.folder, {**job.config, "deepspeed": {"zeroStage": 3}}, job.cache)
    ranks = job.start_ranks()
    assert [wait(rank) for rank in ranks] == [0, 0], job.log.read_text()
    wanted = plain_loop(job.run(2), job.dataset(2), batch=TRAINING["batchSize"])
    found = {f"denoiser.{name}": tensor for name, tensor in weights_of(job).items()}
    assert distance({name: found[name] for name in wanted}, wanted) < 1e-4


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"trainTextEncoder": True}, "spec.training.trainTextEncoder"),
        ({"minSnrGamma": 5}, "spec.training.minSnrGamma"),
        ({"resolution": 72}, "spec.training.resolution"),
        ({"method": "lora", "lora": {"targets": ["conv1"]}}, "spec.training.lora.targets"),
    ],
)
def test_settings_that_the_family_lacks_are_refused_at_once(
    folder: Path, photos: Path, tmp_path: Path, training: dict[str, Any], field: str
) -> None:
    job = job_of(tmp_path / "refused", folder, photos, **training)
    assert job.finish() == InvalidConfig.exit_code, job.log.read_text()
    assert field in job.termination["message"]
    assert not job.output.class_images.exists()
