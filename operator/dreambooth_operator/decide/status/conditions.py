"""Builds the conditions according to the Kubernetes API conventions.

`Ready`, `Reconciling` and `Stalled` are those by which tools assess any kind of object (kstatus); docs/gitops.md explains them.
"""

from collections.abc import Sequence
from datetime import datetime

from dreambooth_api.status import Condition, ConditionType
from dreambooth_operator.decide.status.reasons import RESUMED, RUNS, SOUND, Finding

READY = "Running", "Suspended", "Complete"
"""Phases in which a workload is as its spec says."""
ORDER: Sequence[ConditionType] = (
    "Accepted",
    "Running",
    "Suspended",
    "Complete",
    "Failed",
    "Ready",
    "Reconciling",
    "Stalled",
)


def find(conditions: Sequence[Condition], type_: ConditionType) -> Condition | None:
    """The condition of a type, whether its status is True or False."""
    return next((one for one in conditions if one.type == type_), None)


def holds(conditions: Sequence[Condition], type_: ConditionType) -> bool:
    """Whether the status of a condition is True."""
    condition = find(conditions, type_)
    return condition is not None and condition.status == "True"


def conditions_of(
    before: Sequence[Condition],
    finding: Finding,
    *,
    accepted: bool,
    generation: int,
    now: datetime,
    objection: Finding | None = None,
) -> list[Condition]:
    """The new conditions for a finding.

    `Complete` and `Failed` are added when they become true. `Suspended` is added when it becomes true for the first time.
    `Reconciling` and `Stalled` exist only while they are true. Conditions of other types are kept.

    Args:
        before: the previous conditions.
        finding: the finding.
        accepted: whether the spec is valid.
        generation: the generation of the spec.
        now: the time of transitions.
        objection: why the spec is not accepted, if that is not the finding.
    """
    states = {
        "Accepted": (accepted, SOUND() if accepted else objection or finding),
        "Running": (finding.reason in RUNS, finding),
    }
    suspended, ended = finding.phase == "Suspended", finding.phase in ("Complete", "Failed")
    if suspended or find(before, "Suspended"):
        states["Suspended"] = (suspended, finding if suspended or ended else RESUMED())
    if ended:
        states[finding.phase] = (True, finding)
    states["Ready"] = (finding.phase in READY, finding)
    if finding.phase not in READY:
        states["Stalled" if ended else "Reconciling"] = (True, finding)
    own = [updated(find(before, type_), type_, *states[type_], generation, now) for type_ in ORDER if type_ in states]
    return own + [one for one in before if one.type not in ORDER]


def updated(
    before: Condition | None, type_: ConditionType, status: bool, finding: Finding, generation: int, now: datetime
) -> Condition:
    """The new condition about a finding; `lastTransitionTime` changes only with the status."""
    text = "True" if status else "False"
    return Condition(
        type=type_,
        status="True" if status else "False",
        reason=finding.reason,
        message=finding.message,
        last_transition_time=before.last_transition_time if before and before.status == text else now,
        observed_generation=generation,
    )
