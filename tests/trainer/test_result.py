import platform
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.planning.phases import Target
from dreambooth_trainer.planning.plan import plan_memory
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.result import planned_peaks, versions
from tests.trainer.tiny_training import settings, write_photos


def test_a_source_tree_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreambooth_trainer.result.LIBRARIES", ("torch", "a-source-tree"))
    found = versions()
    assert found == {"python": platform.python_version(), "torch": version("torch"), "a-source-tree": "not installed"}


class PretendedGpu(Distributed):
    """A process with a GPU of 16 GB."""

    device = torch.device("cuda")
    memory = 16 * 10**9


def test_a_run_on_a_gpu_has_the_peaks_of_its_plan(tiny_training: Path) -> None:
    config = TrainConfig.model_validate(settings(tiny_training / "model", tiny_training / "photos"))
    phases = plan_memory(config, Target("cuda", 1, PretendedGpu.memory))
    assert planned_peaks(config, PretendedGpu()) == {phase.phase: phase.peak for phase in phases}
    assert planned_peaks(config, Distributed()) == {} or torch.cuda.is_available()


def test_a_model_that_can_not_be_planned_ends_no_run(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    config = TrainConfig.model_validate(settings(tmp_path / "model.safetensors", tmp_path / "photos"))
    assert planned_peaks(config, PretendedGpu()) == {}
