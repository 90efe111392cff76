import json
from dataclasses import replace
from pathlib import Path

from benchmarks.programs import Subject, base_model, command_line, script_command, subjects, trainer_command
from benchmarks.speed import Arm, Size, trainer_config
from dreambooth_api.validation import check_files, check_settings
from dreambooth_trainer.data.own_class_images import INSPECTIONS

SIZE = Size(steps=300, batch=4, class_images=64, sample_batch=4)


def test_flags_stand_alone_and_only_where_they_are_set() -> None:
    options = {"steps": 3, "rate": 1e-4, "train_text_encoder": True, "scale_lr": False}
    assert command_line(options) == ["--steps", "3", "--rate", "0.0001", "--train_text_encoder"]


def test_every_subject_has_photos() -> None:
    assert {"backpack", "dog", "teapot"} <= set(subjects())
    assert all(list(Subject(name).photos.glob("*.jpg")) for name in subjects())


def test_the_script_gets_class_images_only_with_prior_preservation(tmp_path: Path) -> None:
    base, dog = base_model(False, tmp_path), Subject("dog")
    with_prior = script_command(Path("s.py"), base, dog, "qzx", tmp_path / "out", tmp_path / "class", {"seed": 7})
    without = script_command(Path("s.py"), base, dog, "qzx", tmp_path / "out", None, {"seed": 7})
    words = ["--with_prior_preservation", "--class_prompt", "a dog", "--class_data_dir", str(tmp_path / "class")]
    at = with_prior.index(words[0])
    assert with_prior[at : at + len(words)] == words
    assert not [word for word in without if word.startswith(("--class", "--with_prior", "--prior"))]
    assert without[without.index("--instance_prompt") + 1] == "a qzx dog"
    assert without[without.index("--mixed_precision") + 1] == "no"
    assert without[-2:] == ["--seed", "7"]


def test_the_trainer_accepts_the_configurations_of_both_arms(tmp_path: Path) -> None:
    base = base_model(False, tmp_path)
    for arm in Arm:
        command = trainer_command(trainer_config(arm, base, Subject("dog"), SIZE), tmp_path / arm, tmp_path / "cache")
        written = json.loads(Path(command[command.index("--config") + 1]).read_text())
        config, problems = check_settings(written)
        assert config is not None, problems
        assert check_files(config, INSPECTIONS)[0] == []


def test_the_same_arm_has_the_scripts_settings_and_the_other_the_projects(tmp_path: Path) -> None:
    base = replace(base_model(False, tmp_path), precision="bf16")
    same = trainer_config(Arm.SAME, base, Subject("dog"), SIZE)
    defaults = trainer_config(Arm.DEFAULTS, base, Subject("dog"), SIZE)
    sampler = same.prior.sampler
    assert (sampler.scheduler, sampler.steps, sampler.guidance_scale) == ("ddim", 50, 7.5)
    assert (same.prior.batch_size, same.prior.unconditional_images, same.training.mixed_precision) == (4, 0, "bf16")
    assert (defaults.prior.sampler.guidance_scale, defaults.training.mixed_precision) == (1.0, "auto")
    for config in (same, defaults):
        assert (config.prior.images, config.training.steps, config.training.batch_size) == (64, 300, 4)
        assert config.training.train_text_encoder and not config.evaluation.enabled and not config.samples.prompts
