import json
from pathlib import Path

import pytest
import torch

from dreambooth_api.failures import NonFiniteLoss
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.training.engine import StepOutcome
from dreambooth_trainer.training.loss_curve import read_losses
from dreambooth_trainer.training.loss_log import LossLog


def outcome(subject: float, class_: float = 0.5) -> StepOutcome:
    return StepOutcome(torch.tensor([subject, class_]), 1e-4, torch.tensor(0.25))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "losses.jsonl"


def test_steps_are_written_when_flushed(path: Path) -> None:
    log = LossLog(path, Distributed(), resumed_at=0)
    for step in (1, 2):
        log.add(step, outcome(step / 4))
    assert read_losses(path) == []
    lines = log.flush()
    assert lines == read_losses(path)
    assert lines[1] == {"step": 2, "loss": 0.5, "priorLoss": 0.5, "learningRate": 1e-4, "gradNorm": 0.25}
    assert log.flush() == []
    log.add(3, outcome(1))
    log.flush()
    assert [line["step"] for line in read_losses(path)] == [1, 2, 3]


def test_a_resumed_run_drops_the_steps_that_it_repeats(path: Path) -> None:
    log = LossLog(path, Distributed(), resumed_at=0)
    for step in range(1, 6):
        log.add(step, outcome(step))
    log.flush()
    with path.open("a") as file:
        file.write('{"step": 6, "lo')
    assert [line["step"] for line in read_losses(path)] == [1, 2, 3, 4, 5]
    resumed = LossLog(path, Distributed(), resumed_at=3)
    resumed.add(4, outcome(44))
    resumed.flush()
    assert [(line["step"], line["loss"]) for line in read_losses(path)] == [(1, 1), (2, 2), (3, 3), (4, 44)]
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("bad", [(float("nan"), 0.5), (0.5, float("nan")), (float("inf"), 0.5)])
def test_a_loss_that_is_not_finite_stops_the_run(path: Path, bad: tuple[float, float]) -> None:
    log = LossLog(path, Distributed(), resumed_at=0)
    log.add(1, outcome(1))
    log.add(2, outcome(*bad))
    with pytest.raises(NonFiniteLoss, match=r"at step 2\. Lower training\.learningRate"):
        log.flush()


def test_an_infinite_norm_is_null_in_json(path: Path) -> None:
    log = LossLog(path, Distributed(), resumed_at=0)
    log.add(1, StepOutcome(torch.tensor([1.0, 0.5]), 1e-4, torch.tensor(torch.inf)))
    log.flush()
    assert '"gradNorm": null' in path.read_text()


def test_only_the_main_process_writes(path: Path) -> None:
    LossLog(path, Distributed(rank=1), resumed_at=0)
    assert not path.exists()
    assert read_losses(path) == []
