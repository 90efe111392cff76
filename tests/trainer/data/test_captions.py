"""Tests of dreambooth_trainer.data.captions."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dreambooth_api.fields import Fields
from dreambooth_trainer.data.captions import Captions, read_captions
from dreambooth_trainer.data.folder import read_folder

GOOD = "a {identifier} {class} on a sofa"


def captions(folder: Path, **subject: Any) -> Captions:
    for name in ("a.jpg", "b.png"):
        (folder / name).write_bytes(b"x")
    return read_captions(read_folder(folder), Fields({"subject": {"class": "dog", **subject}}, ()))


def problems(folder: Path, **subject: Any) -> dict[str, str]:
    return {problem.field: problem.message for problem in captions(folder, **subject).problems}


def table(folder: Path, *rows: object) -> None:
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.mark.parametrize("name", ["a.txt", "a.jpg.txt", "a.caption"])
def test_files_next_to_photos(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbfa {identifier} {class}\r\n on a  sofa\n")
    found = captions(tmp_path)
    assert (found.by_photo, found.problems) == ({"a.jpg": GOOD}, [])
    assert found.warnings == ["photos without a caption have subject.prompt instead: b.png"]


@pytest.mark.parametrize("column", ["text", "prompt", "caption"])
def test_the_table_of_the_hub(tmp_path: Path, column: str) -> None:
    table(tmp_path, {"file_name": "a.jpg", column: GOOD, "width": 3}, {"file_name": "./b.png", column: GOOD})
    assert captions(tmp_path) == Captions({"a.jpg": GOOD, "b.png": GOOD}, [], [])


def test_captions_in_the_manifest(tmp_path: Path) -> None:
    assert captions(tmp_path, captions={"a.jpg": GOOD, "b.png": GOOD}).by_photo == {"a.jpg": GOOD, "b.png": GOOD}


def test_no_captions(tmp_path: Path) -> None:
    assert captions(tmp_path) == Captions({}, [], [])


def test_captions_may_name_other_subjects(tmp_path: Path) -> None:
    images = {"images": {"path": "."}}
    subjects = [{"name": "rex", "class": "dog", **images}, {"name": "tom", "class": "cat", **images}]
    rex, _ = Fields({"subjects": subjects}, ()).each_subject()
    contents = {"a.txt": "{rex} and {tom} on a sofa", "b.txt": "a {identifier} {class} next to {tom}"}
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    found = read_captions(read_folder(tmp_path), rex.fields)
    assert found == Captions({"a.jpg": contents["a.txt"], "b.png": contents["b.txt"]}, [], [])
    (tmp_path / "a.txt").write_text("{max} and {rex}")
    (tmp_path / "b.txt").write_text("{tom} alone")
    wrong = {one.field: one.message for one in read_captions(read_folder(tmp_path), rex.fields).problems}
    assert wrong == {
        "spec.subject.images, a.txt": "has the unknown placeholder {max}",
        "spec.subject.images, b.txt": "has no {identifier}, so that the photo would not teach who the subject is",
    }


def test_the_identifier_may_be_written_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("photo of Sks, a dog")
    assert problems(tmp_path, identifier="sks") == {}
    assert list(problems(tmp_path, identifier="zwx")) == list(problems(tmp_path)) == ["spec.subject.images, a.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a dog on a sofa", "has no {identifier}, so that the photo would not teach who the subject is"),
        ("a {identifier} {breed}", "has the unknown placeholder {breed}"),
        ("a {identifier} {class} :}", "has an unmatched brace"),
        (" \n", "is empty"),
        ("a {identifier}" + " very" * 100, "has more than 500 characters"),
    ],
)
def test_wrong_captions(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert problems(tmp_path) == {"spec.subject.images, a.txt": message}
    (tmp_path / "a.txt").unlink()
    table(tmp_path, {"file_name": "b.png", "text": GOOD}, {"file_name": "a.jpg", "text": text})
    assert problems(tmp_path) == {"spec.subject.images, metadata.jsonl, line 2": message}


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b'{"file_name": "a.jpg"', "line 1 is no JSON"),
        (b'\n["a.jpg"]', "line 2 has no file_name with a text or prompt or caption"),
        (b'{"file_name": "a.jpg"}', "line 1 has no file_name with a text or prompt or caption"),
        (b'{"text": "a"}', "line 1 has no file_name with a text or prompt or caption"),
        (b"\xff\xfe", "'utf-8' codec can't decode"),
        (b"[" * 100_000, "line 1 is no JSON"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, cause: str) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(content)
    (message,) = problems(tmp_path).values()
    assert message.startswith(f"can't be read as captions: {cause}")


def test_files_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("a {identifier} {class} im Gebüsch".encode("latin-1"))
    (problem,) = captions(tmp_path).problems
    assert problem.message.startswith("can't be read as captions: 'utf-8' codec")
    assert problem.remedy == "Save it as text in UTF-8, or remove it"


def test_files_that_are_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with (tmp_path / "b.txt").open("wb") as file:
        file.truncate(10_000_001)
    assert [problem.message for problem in captions(tmp_path).problems] == [
        "can't be read as captions: it is no regular file",
        "can't be read as captions: it has more than 10 MB",
    ]


def test_other_line_ends_inside_a_line(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(
        '{"file_name": "a.jpg", "text": "a {identifier}\u2028{class}"}\r\n\r\n'.encode()
    )
    assert captions(tmp_path).by_photo == {"a.jpg": "a {identifier} {class}"}


def test_captions_of_photos_that_do_not_exist(tmp_path: Path) -> None:
    table(tmp_path, {"file_name": "train/a.jpg", "text": GOOD})
    found = problems(tmp_path, captions={"a.jpeg": GOOD})
    assert found == {
        "spec.subject.captions.a.jpeg": "is the caption of 'a.jpeg', which is no photo of the folder",
        "spec.subject.images, metadata.jsonl, line 1": (
            "is the caption of 'train/a.jpg', which is no photo of the folder"
        ),
    }


def test_two_captions_of_a_photo(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(GOOD)
    assert problems(tmp_path, captions={"a.jpg": GOOD}) == {}
    found = problems(tmp_path, captions={"a.jpg": "a {identifier}"})
    assert found == {
        "spec.subject.images, a.txt": "is another caption of a.jpg than that of spec.subject.captions.a.jpg"
    }


def test_a_caption_without_the_class(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a {identifier} Dog")
    (tmp_path / "b.txt").write_text("a {identifier} doghouse")
    (warning,) = captions(tmp_path).warnings
    assert warning.startswith("captions without {class} (dog): b.png. ")


def test_dropout_without_captions(tmp_path: Path) -> None:
    assert problems(tmp_path, captionDropout=0.1) == {
        "spec.subject.captionDropout": "has no effect, because no photo has a caption"
    }
