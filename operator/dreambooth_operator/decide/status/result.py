"""Composes the result of a complete DreamBoothJob from the spec and the termination message of its trainer."""

from dreambooth_api.status import JobResult
from dreambooth_operator.decide.status.termination_message import TerminationMessage, count, figures_of, text


def result_of(claim_name: str, path: str, termination: TerminationMessage | None) -> JobResult:
    """The location of the result and its figures.

    Args:
        claim_name: name of the claim.
        path: folder of the run in the volume.
        termination: termination message of the trainer, if it is known.
    """
    result = termination.result if termination else {}
    return JobResult(
        claim_name=claim_name,
        path=path,
        model=text(result.get("model")),
        digest=text(result.get("digest")),
        step=count(result.get("step")),
        sheet=text(result.get("sheet")),
        report=text(result.get("report")),
        figures=figures_of({name: value for name, value in result.items() if name != "step"}),
    )
