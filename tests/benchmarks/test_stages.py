import pytest

from benchmarks.stages import Stages, stages_of_script, stages_of_trainer, steady_rate, steps_of_script
from benchmarks.timed import Mark

SCRIPT = [
    Mark(2.0, "Generating class images:   0%|          | 0/16 [00:00<?, ?it/s]"),
    Mark(7.0, "Generating class images:  94%|█████████▍| 15/16 [00:05<00:00,  3.00it/s]"),
    Mark(8.0, "Generating class images: 100%|██████████| 16/16 [00:06<00:00,  2.67it/s]"),
    Mark(8.1, "Generating class images: 100%|██████████| 16/16 [00:06<00:00,  2.67it/s]"),
    Mark(9.0, "11/23/2026 11:00:00 - INFO - __main__ -   Total optimization steps = 300"),
    Mark(10.0, "Steps:   0%|          | 0/300 [00:00<?, ?it/s]"),
    Mark(10.5, "Steps:   0%|          | 1/300 [00:00<02:29,  2.00it/s, loss=0.0733, lr=0.0001]"),
    Mark(70.0, "Steps: 100%|██████████| 300/300 [01:00<00:00,  5.00it/s, loss=0.02, lr=0.0001]"),
    Mark(70.1, "Steps: 100%|██████████| 300/300 [01:00<00:00,  5.00it/s, loss=0.02, lr=0.0001]"),
]

TRAINER = [
    Mark(3.0, "prior: started"),
    Mark(8.0, "prior: 32/64 images, 5.0 s left"),
    Mark(13.0, "prior: done, 64/64 images in 10 s"),
    Mark(15.0, "train: started"),
    Mark(66.0, "train: done, 300/300 steps in 51 s"),
]


def test_stages_of_the_script() -> None:
    assert stages_of_script(SCRIPT) == Stages(class_images=6.0, first_step=10.0, training=60.0)


def test_stages_of_the_trainer_end_with_its_last_step() -> None:
    assert stages_of_trainer(TRAINER, last_step=65.0) == Stages(class_images=10.0, first_step=15.0, training=50.0)


def test_a_script_that_did_not_reach_its_last_step_has_no_stages() -> None:
    with pytest.raises(ValueError, match="Steps"):
        stages_of_script(SCRIPT[:-2])


def test_a_trainer_that_found_its_class_images_has_no_stages() -> None:
    with pytest.raises(ValueError, match="prior: done"):
        stages_of_trainer([Mark(1.0, "prior: nothing to do")], last_step=2.0)


def test_the_steady_rate_is_that_of_the_last_half_and_ends_with_the_last_step() -> None:
    steps = [(10.0, 0), (40.0, 50), (45.0, 100), (50.0, 150), (55.0, 200), (60.0, 200)]
    assert steady_rate(steps) == 10
    assert steady_rate([(1.0, 10)]) is None
    assert steady_rate([]) is None
    assert steps_of_script(SCRIPT)[:2] == [(10.0, 0), (10.5, 1)]
