"""Composes the result of a complete workload from the termination message of its trainer."""

from dreambooth_api.status import JobResult, SceneResult
from dreambooth_operator.decide.status.termination_message import TerminationMessage, count, figures_of, text
from dreambooth_operator.objects.folders import Folder

LONGEST_URL = 1024
"""Most characters of the destination of an upload."""


def result_of_job(output: Folder, termination: TerminationMessage | None) -> JobResult:
    """The location of the model and its figures.

    Args:
        output: folder of the run.
        termination: termination message of the trainer, if it is known.
    """
    result = termination.result if termination else {}
    return JobResult(
        claim_name=output.claim,
        path=output.path,
        model=text(result.get("model")),
        digest=text(result.get("digest")),
        step=count(result.get("step")),
        sheet=text(result.get("sheet")),
        report=text(result.get("report")),
        uploaded=text(result.get("uploaded"), LONGEST_URL),
        figures=figures_of({name: value for name, value in result.items() if name != "step"}),
    )


def result_of_scene(output: Folder, termination: TerminationMessage | None) -> SceneResult:
    """The location of the pictures.

    Args:
        output: their folder.
        termination: termination message of the trainer, if it is known.
    """
    result = termination.result if termination else {}
    return SceneResult(
        claim_name=output.claim,
        path=output.path,
        pictures=count(result.get("pictures")),
        step=termination.step if termination else None,
        sheet=text(result.get("sheet")),
        record=text(result.get("record")),
    )
