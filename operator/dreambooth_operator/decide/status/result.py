"""What a complete job left, from the spec and the last word of its trainer."""

from dreambooth_api.status import JobResult
from dreambooth_operator.decide.status.termination_message import LastWord, figures_of, text


def result_of(claim_name: str, path: str, word: LastWord | None) -> JobResult:
    """Where the result is and how good it is.

    Args:
        claim_name: claim that holds it.
        path: folder of the run inside the volume.
        word: what the trainer said at its end, if that is known.
    """
    said = word.result if word else {}
    return JobResult(
        claim_name=claim_name,
        path=path,
        model=text(said.get("model")),
        digest=text(said.get("digest")),
        sheet=text(said.get("sheet")),
        report=text(said.get("report")),
        figures=figures_of(said),
    )
