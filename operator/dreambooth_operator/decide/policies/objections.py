"""Decides what problems of a spec mean: the manifest is wrong, or it is newer than this operator.

The API server has accepted the spec, so an unknown field or value is one of a newer CustomResourceDefinition. If the operator has
accepted the same spec before, any other problem was accepted by a newer version of it.
"""

from collections.abc import Sequence

from dreambooth_api.failures import Problem
from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.conditions import find
from dreambooth_operator.decide.status.reasons import Finding


def objection_to(problems: Sequence[Problem], before: WorkloadStatus, generation: int) -> Finding:
    """Why a spec is not accepted.

    Args:
        problems: the problems of the spec.
        before: the previous status.
        generation: the generation of the spec.
    """
    accepted = find(before.conditions, "Accepted")
    by_another = (
        accepted is not None
        and accepted.observed_generation == generation
        and (accepted.status == "True" or accepted.reason == reasons.NEWER_SPEC.reason)
    )
    if by_another or any(problem.may_be_newer for problem in problems):
        return reasons.NEWER_SPEC(fields=", ".join(problem.field for problem in problems))
    return invalid_config(problems)


def invalid_config(problems: Sequence[Problem]) -> Finding:
    """The finding that a manifest is wrong."""
    return reasons.INVALID_CONFIG(problems=" ".join(map(str, problems)))
