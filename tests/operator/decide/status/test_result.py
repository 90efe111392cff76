from typing import Any

from dreambooth_api.status import JobResult
from dreambooth_operator.decide.status.result import result_of_job
from dreambooth_operator.decide.status.termination_message import TerminationMessage
from dreambooth_operator.objects.folders import Folder


def test_the_result_of_the_trainer() -> None:
    said = {
        "model": "model",
        "digest": "abc",
        "sheet": "samples/sheet.png",
        "report": "report.html",
        "uploaded": f"s3://results/{'x' * 300}",
        "step": 12345,
        "subj": 0.81234,
    }
    assert result_of_job(Folder("dog", "runs/dog"), TerminationMessage("Completed", "", 9, said)) == JobResult(
        claim_name="dog",
        path="runs/dog",
        model="model",
        digest="abc",
        step=12345,
        sheet="samples/sheet.png",
        report="report.html",
        uploaded=f"s3://results/{'x' * 300}",
        figures={"subj": 0.8123},
    )


def test_invalid_values_are_removed() -> None:
    said: dict[str, Any] = {"model": {}, "digest": None, "sheet": [], "report": "\n", "step": 1.5, "subj": "0.8"}
    assert result_of_job(Folder("dog", "dog"), TerminationMessage("Completed", "", 9, said)) == JobResult(
        claim_name="dog", path="dog"
    )


def test_the_location_is_known_without_a_termination_message() -> None:
    assert result_of_job(Folder("shelf", "a/b"), None) == JobResult(claim_name="shelf", path="a/b")
