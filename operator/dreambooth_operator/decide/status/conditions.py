"""Conditions by the API conventions: what holds, since when, and why; by which spec it was judged."""

from collections.abc import Sequence
from datetime import datetime

from dreambooth_api.status import Condition, ConditionType
from dreambooth_operator.decide.status.reasons import RESUMED, SOUND, TRAINS, Finding


def find(conditions: Sequence[Condition], type_: ConditionType) -> Condition | None:
    """A condition by its type, whether it holds or not."""
    return next((one for one in conditions if one.type == type_), None)


def holds(conditions: Sequence[Condition], type_: ConditionType) -> bool:
    """Whether a condition holds."""
    condition = find(conditions, type_)
    return condition is not None and condition.status == "True"


def conditions_of(
    before: Sequence[Condition], finding: Finding, *, accepted: bool, generation: int, now: datetime
) -> list[Condition]:
    """The conditions that a finding makes of those before.

    `Complete` and `Failed` appear when they come true, `Suspended` when it did for the first time.

    Args:
        before: the conditions so far.
        finding: where the job stands.
        accepted: whether the spec is sound.
        generation: the generation of that spec.
        now: the time of the transitions.
    """
    sound = SOUND()
    words = {
        "Accepted": (accepted, sound if accepted else finding),
        "Running": (finding.word in TRAINS, finding),
    }
    suspended, ended = finding.phase == "Suspended", finding.phase in ("Complete", "Failed")
    if suspended or find(before, "Suspended"):
        words["Suspended"] = (suspended, finding if suspended or ended else RESUMED())
    if ended:
        words[finding.phase] = (True, finding)
    order: Sequence[ConditionType] = ("Accepted", "Running", "Suspended", "Complete", "Failed")
    return [_moved(find(before, type_), type_, *words[type_], generation, now) for type_ in order if type_ in words]


def _moved(
    before: Condition | None, type_: ConditionType, status: bool, finding: Finding, generation: int, now: datetime
) -> Condition:
    """A condition after what was found; its time changes only with its status."""
    text = "True" if status else "False"
    return Condition(
        type=type_,
        status="True" if status else "False",
        reason=finding.word,
        message=finding.message,
        last_transition_time=before.last_transition_time if before and before.status == text else now,
        observed_generation=generation,
    )
