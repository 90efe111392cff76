"""`dreambooth plan`: how much memory a run needs, from the configuration of its base model."""

import dataclasses
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from dreambooth_api.failures import InvalidConfig, OutOfMemory, Problem, TrainerFailure
from dreambooth_api.quantities import Quantity, amount
from dreambooth_cli.output import fail, say
from dreambooth_cli.validate import File, read_or_exit

if TYPE_CHECKING:
    from dreambooth_trainer.planning.memory import PhaseMemory
    from dreambooth_trainer.planning.plan import Plan

COLUMNS = ("weights", "gradients", "optimizer", "average", "dataset", "activations", "peak")
"""Columns of the table."""


class Format(StrEnum):
    """Formats of the answer."""

    TEXT = "text"
    JSON = "json"


def plan(
    file: File,
    gpu_memory: Annotated[
        str | None,
        typer.Option(metavar="QUANTITY", help="Memory of each GPU, such as 24Gi.", show_default=False),
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs.")] = 1,
    output: Annotated[Format, typer.Option("-o", "--output", help="Format of the answer.")] = Format.TEXT,
) -> None:
    """Calculate the GPU memory that a run needs.

    Reads the configuration of the base model, but no weights. Prints the memory of each phase, and which GPU would do.

    With --gpu-memory, also says whether the run fits, and if not, which settings would help; it then exits with 5.
    """
    memory = _bytes(gpu_memory) if gpu_memory else None
    from dreambooth_client.local.reach import out_of_reach

    config = read_or_exit(file).config
    read = ("spec.model.", "spec.evaluation.")
    if problems := [problem for problem in out_of_reach(config) if problem.field.startswith(read)]:
        fail("\n".join(map(str, problems)), InvalidConfig.exit_code)
    from dreambooth_trainer.start import quiet_libraries

    quiet_libraries()
    try:
        # Torch takes seconds to import; a wrong manifest is reported before.
        from dreambooth_trainer.planning.phases import Target
        from dreambooth_trainer.planning.plan import plan_run
    except ModuleNotFoundError as error:
        remedy = "Install the trainer's libraries: pip install 'dreambooth-operator[trainer]'."
        fail(f"dreambooth plan needs {error.name}, which is not installed. {remedy}", InvalidConfig.exit_code)
    try:
        planned = plan_run(config, Target(devices=gpus, memory=memory))
    except TrainerFailure as failure:
        fail(failure, failure.exit_code)
    if output is Format.JSON:
        typer.echo(json.dumps(_as_json(planned), indent=2))
    else:
        for line in [*_table(planned), *_verdict(planned)]:
            say(line)
    if planned.too_large:
        raise typer.Exit(OutOfMemory.exit_code)


def _bytes(quantity: str) -> int:
    try:
        found = int(amount(TypeAdapter(Quantity).validate_python(quantity)))
    except ValidationError:
        found = 0
    if found < 1:
        problem = Problem("--gpu-memory", quantity, "is no quantity of memory", "Give for example 24Gi or 80G")
        fail(problem, InvalidConfig.exit_code)
    return found


def _table(plan: "Plan") -> Iterator[str]:
    """The memory of each phase."""
    yield "".join(["phase".ljust(10), *(column.rjust(13) for column in COLUMNS)])
    for phase in plan.phases:
        yield "".join([phase.phase.ljust(10), *(f"{gigabytes:13.2f}" for gigabytes in _columns(phase))])
    yield f"GB (10^9 bytes) on {'the GPU' if plan.target.devices == 1 else f'each of {plan.target.devices} GPUs'}"
    for phase in plan.phases:
        if phase.phase in ("cache", "train"):
            parts = "; ".join(f"{part}: {size / 10**9:.2f}" for part, size in phase.weights.items())
            stage = "" if phase.zero_stage is None else f" (ZeRO stage {phase.zero_stage})"
            yield f"weights during {phase.phase}{stage}: {parts}"
        if phase.host:
            yield f"offloaded to the host's memory for each GPU: {phase.host / 10**9:.2f}"


def _columns(phase: "PhaseMemory") -> list[float]:
    weights = sum(phase.weights.values())
    held = (weights, phase.gradients, phase.optimizer, phase.average, phase.dataset, phase.activations)
    return [size / 10**9 for size in (*held, phase.peak)]


def _verdict(plan: "Plan") -> Iterator[str]:
    """What fits, and what would."""
    from dreambooth_trainer.planning.plan import SHARE

    largest = plan.largest
    needs = f"{largest.phase} needs the most memory: {largest.needed / 10**9:.2f} GB"
    yield f"{needs}. {_which_card(plan)}"
    if plan.target.memory is None:
        return
    room = f"{SHARE:.0%} of {plan.target.memory / 10**9:.2f} GB"
    for phase in plan.smaller_batches:
        yield f"{phase.phase} generates fewer pictures at once than it could with more memory"
    if not plan.too_large:
        yield f"The run fits: all phases need at most {room}"
        return
    too_large = ", ".join(f"{phase.phase} {phase.needed / 10**9:.2f} GB" for phase in plan.too_large)
    yield f"The run does not fit {room}: {too_large}"
    others = [phase.phase for phase in plan.too_large if phase.phase != "train"]
    if plan.proposal:
        settings = ", ".join(f"{path}: {json.dumps(value)}" for path, value in plan.proposal.settings.items())
        most = plan.proposal.largest
        yield f"It would fit with {settings}: {most.phase} needs {most.needed / 10**9:.2f} GB then"
    elif others:
        yield f"No setting lowers the memory of {', '.join(others)} enough. Use a larger GPU or a lower training.resolution"
    else:
        yield "No setting makes it fit. Use larger or more GPUs, or method lora"


def _which_card(plan: "Plan") -> str:
    return f"A GPU with {plan.card} GB would do" if plan.card else "No usual GPU would do"


def _as_json(plan: "Plan") -> dict[str, Any]:
    """The plan in bytes."""
    proposal = plan.proposal
    return {
        "devices": plan.target.devices,
        "memory": plan.target.memory,
        "phases": [_phase_as_json(phase) for phase in plan.phases],
        "smallestGpu": plan.card and plan.card * 10**9,
        "fits": None if plan.target.memory is None else not plan.too_large,
        "proposal": proposal and {"settings": dict(proposal.settings), "training": _phase_as_json(proposal.training)},
    }


def _phase_as_json(phase: "PhaseMemory") -> dict[str, Any]:
    fields = {to_camel(name): value for name, value in dataclasses.asdict(phase).items() if value is not None}
    return {**fields, "peak": phase.peak, "needed": phase.needed}
