import json
from pathlib import Path

import pytest

from benchmarks.cases import SETTINGS, Case, Plan, Program, cases, read_settings
from benchmarks.programs import base_model, trainer_command
from dreambooth_api.validation import check_settings


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(base_model(False, tmp_path), per_prompt=8)


def test_all_combinations_the_first_seed_first() -> None:
    found = cases(list(Program), ["dog", "teapot"], [3, 5], [True, False])
    assert len(set(found)) == len({case.name for case in found}) == 24
    assert [case.seed for case in found] == [3] * 12 + [5] * 12


@pytest.mark.parametrize("program", [Program.FULL, Program.LORA])
@pytest.mark.parametrize("prior", [True, False])
def test_the_trainer_accepts_every_configuration(plan: Plan, program: Program, prior: bool, tmp_path: Path) -> None:
    config = plan.trainer_config(Case(program, "dog", 5, prior), "qzx")
    command = trainer_command(config, tmp_path / "run", tmp_path / "cache")
    read, problems = check_settings(json.loads(Path(command[command.index("--config") + 1]).read_text()))
    assert read is not None, problems
    assert (read.training.method, read.training.seed, read.prior.enabled) == (program.value, 5, prior)
    assert (read.subject.identifier, read.evaluation.enabled, read.samples.prompts) == ("qzx", False, [])


def test_a_result_belongs_to_its_settings(plan: Plan, tmp_path: Path) -> None:
    case, other = Case(Program.FULL, "dog", 0, True), Case(Program.LORA, "dog", 0, True)
    settings = read_settings(SETTINGS)
    settings["full"]["training"] |= {"steps": 301}
    changed = Plan(plan.base, plan.per_prompt, settings)
    assert changed.key(case) != plan.key(case)
    assert changed.key(other) == plan.key(other)
    assert Plan(plan.base, 9).key(case) != plan.key(case)


def test_every_program_is_evaluated_with_the_same_sampler_unless_its_settings_say_otherwise(plan: Plan) -> None:
    samplers = {plan.evaluation_config(Case(program, "dog", 0, True)).samples.model_dump_json() for program in Program}
    assert len(samplers) == 1
