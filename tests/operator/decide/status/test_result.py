from typing import Any

from dreambooth_api.status import JobResult
from dreambooth_operator.decide.status.result import result_of
from dreambooth_operator.decide.status.termination_message import LastWord


def test_what_the_trainer_left() -> None:
    said = {"model": "model", "digest": "abc", "sheet": "samples/sheet.png", "report": "report.html", "subj": 0.81234}
    assert result_of("dog", "runs/dog", LastWord("Completed", "", 9, said)) == JobResult(
        claim_name="dog",
        path="runs/dog",
        model="model",
        digest="abc",
        sheet="samples/sheet.png",
        report="report.html",
        figures={"subj": 0.8123},
    )


def test_what_can_not_be_is_left_out() -> None:
    said: dict[str, Any] = {"model": {}, "digest": None, "sheet": [], "report": "\n", "subj": "0.8"}
    assert result_of("dog", "dog", LastWord("Completed", "", 9, said)) == JobResult(claim_name="dog", path="dog")


def test_where_it_is_is_known_also_without_a_last_word() -> None:
    assert result_of("shelf", "a/b", None) == JobResult(claim_name="shelf", path="a/b")
