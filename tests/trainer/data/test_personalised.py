import json
from pathlib import Path

import pytest

from dreambooth_api.training import Subject
from dreambooth_trainer.data.personalised import KnownSubject, identifier_warnings, known_subjects


def finished(folder: Path, identifier: str, class_: str, source: str) -> Path:
    """The folder of a finished run, as far as it matters here; returns its exported model."""
    (folder / "model" / "diffusers").mkdir(parents=True)
    result = {"identifier": identifier, "class": class_, "settings": {"model": {"source": source}, "prior": {}}}
    (folder / "result.json").write_text(json.dumps(result))
    return folder / "model" / "diffusers"


def subject(identifier: str, class_: str = "dog") -> Subject:
    return Subject.model_validate({"class": class_, "identifier": identifier, "images": {"path": "photos"}})


def test_runs_are_followed_to_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(tmp_path / "first", "xyz", "dog", "embedded://emoji")
    second = finished(tmp_path / "second", "qrs", "cat", str(first))
    wanted = [KnownSubject("qrs", "cat", tmp_path / "second"), KnownSubject("xyz", "dog", tmp_path / "first")]
    assert known_subjects(str(second)) == wanted
    assert known_subjects(str(tmp_path / "second/model/model.safetensors")) == wanted
    monkeypatch.chdir(tmp_path)
    assert known_subjects("second/model/diffusers") == wanted


def test_a_base_model_of_any_name_ends_the_walk(tmp_path: Path) -> None:
    model = finished(tmp_path / "run", "xyz", "dog", "a\x00/model/b")
    assert [one.identifier for one in known_subjects(str(model))] == ["xyz"]


def test_two_runs_that_name_each_other_end(tmp_path: Path) -> None:
    first = finished(tmp_path / "first", "xyz", "dog", str(tmp_path / "second/model/diffusers"))
    finished(tmp_path / "second", "qrs", "cat", str(first))
    assert [one.identifier for one in known_subjects(str(first))] == ["xyz", "qrs"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"identifier": "xyz"}',
        json.dumps({"identifier": "x" * 61, "class": "dog", "settings": {"model": {"source": "a"}}}),
    ],
)
def test_other_models_know_no_subject(tmp_path: Path, content: str) -> None:
    model = finished(tmp_path / "run", "xyz", "dog", "embedded://emoji")
    for source in (
        "embedded://emoji",
        "hf://model/diffusers",
        str(tmp_path / "run"),
        str(tmp_path / "model/diffusers"),
    ):
        assert known_subjects(source) == []
    (tmp_path / "run" / "result.json").write_text(content)
    assert known_subjects(str(model)) == []


KNOWN = [KnownSubject("xyz", "dog", Path("runs/rex"))]


@pytest.mark.parametrize(
    ("identifier", "class_", "said"),
    [
        ("xyz", "dog", None),
        ("XYZ", "dog", None),
        ("qrs", "dog", None),
        (
            "Xyz",
            "cat",
            "As a cat it would have two meanings. Choose another identifier, or, if it is the same subject, set",
        ),
        ("auto", "dog", "To train the same subject further, set subject.identifier to xyz"),
    ],
)
def test_warnings(identifier: str, class_: str, said: str | None) -> None:
    found = identifier_warnings(KNOWN, subject(identifier, class_))
    assert len(found) == bool(said)
    assert all(said in warning and "runs/rex" in warning for warning in found if said)
    assert identifier_warnings([], subject(identifier, class_)) == []
