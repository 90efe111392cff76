"""The plan of a job: its memory, and its time if other jobs have shown it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from dreambooth_api.status import TrainingProgress
from dreambooth_client.seen import Seen
from dreambooth_trainer.monitoring.console import duration
from dreambooth_ui.shown.html import paragraph, table

if TYPE_CHECKING:
    from dreambooth_trainer.planning.plan import Plan

COSTLY = "batchSize", "gradientAccumulationSteps", "gradientCheckpointing", "method", "resolution", "trainTextEncoder"
"""Fields of `training` by which the time of a step differs most."""


def memory(plan: "Plan") -> Markup:
    """The memory of each phase, and a GPU that has it."""
    rows = [(one.phase, gigabytes(sum(one.weights.values())), gigabytes(one.needed)) for one in plan.phases]
    card = f"A GPU with {plan.card} GB would do." if plan.card else "No usual GPU would do."
    most = f"{plan.largest.phase} needs the most memory: {gigabytes(plan.largest.needed)}. {card}"
    return paragraph(most) + table(("phase", "weights", "memory of the GPU"), rows)


def time(spec: Mapping[str, Any], jobs: Iterable[Seen]) -> Markup:
    """How long the steps take, if a job with the same model and costs of a step has trained here."""
    for job in jobs:
        progress = job.status.progress
        speed = progress.steps_per_second if isinstance(progress, TrainingProgress) else None
        if speed and _costs(job.spec) == _costs(spec):
            steps = spec["training"]["steps"]
            return paragraph(
                f"{steps} steps take about {duration(steps / speed)}, as fast as those of {job.target.name}."
            )
    return Markup()


def gigabytes(size: int) -> str:
    """Bytes in GB, 10^9 bytes."""
    return f"{size / 10**9:.2f} GB"


def _costs(spec: Mapping[str, Any]) -> tuple[object, ...]:
    training = spec.get("training") or {}
    return spec["model"]["source"], spec.get("resources"), *(training.get(field) for field in COSTLY)
