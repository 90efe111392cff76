"""Tests of dreambooth_trainer.data.folder: what lies in the folders that people have."""

from pathlib import Path

import pytest

from dreambooth_trainer.data.folder import KohyaFolder, kohya_folder, read_folder


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def names(folder: Path) -> list[str]:
    return [path.name for path in read_folder(folder).photos]


STRAYS = [
    *(".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "._a.jpg", ".trashed-1-a.jpg", ".picasa.ini"),
    *("a.AAE", "a.MOV", "a.mp4", "a.xmp", "a.jpg.xmp", "a.json", "a.jpg.json", "a.jpg.supplemental-metadata.json"),
    *("metadata.json", "a.THM", "a.CR2", "rex.yaml", "kustomization.yml"),
]


@pytest.mark.parametrize("stray", STRAYS)
def test_strays_are_skipped_and_named(tmp_path: Path, stray: str) -> None:
    put(tmp_path, "a.jpg", stray)
    found = read_folder(tmp_path)
    assert ([path.name for path in found.photos], found.problems) == (["a.jpg"], [])
    shown = stray.replace("\r", "\\r")
    assert found.warnings == [f"skipped, since they are no photos: {shown}"]


def test_many_strays_make_one_line(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", *(f"{number:02}.AAE" for number in range(11)))
    (line,) = read_folder(tmp_path).warnings
    assert line.endswith("06.AAE, 07.AAE and 3 more")


@pytest.mark.parametrize("other", ["a.pdf", "a", "b.CR2", "a.jpg.part", "metadata.csv"])
def test_other_files_count_as_photos(tmp_path: Path, other: str) -> None:
    """They are opened, and refused if they are none: nothing that could be a photo is left out silently."""
    assert names(put(tmp_path, "a.jpg", other)) == sorted(["a.jpg", other])


def test_a_text_that_belongs_to_no_photo(tmp_path: Path) -> None:
    found = read_folder(put(tmp_path, "a.jpg", "notes.txt", "a.txt"))
    assert [(path.name, photos) for path, photos in found.captions.items() if photos] == [("a.txt", ["a.jpg"])]
    (problem,) = found.problems
    assert problem.value == str(tmp_path / "notes.txt")
    assert problem.message == "is no picture, and the caption of none"


def test_only_strays(tmp_path: Path) -> None:
    (problem,) = read_folder(put(tmp_path, "clip.MOV")).problems
    assert problem.message == "holds no photo, but only clip.MOV"


def test_sub_folders_with_photos_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "more/b.jpg", "runs/rex/photos/01.png", ".thumbnails/a.jpg", "notes/c.txt")
    found = read_folder(tmp_path)
    assert [path.name for path in found.photos] == ["a.jpg"]
    assert found.warnings == [
        "photos in sub-folders are not used: more. Move those of the subject into the folder itself"
    ]


def test_photos_that_are_only_in_sub_folders(tmp_path: Path) -> None:
    (problem,) = read_folder(put(tmp_path, "rex/b.HEIC", "mia/c.jpg")).problems
    assert problem.message == "holds no photo itself, but in sub-folders: mia, rex"
    assert problem.remedy == f"Give the path of the right one, such as {tmp_path / 'mia'}"


def test_the_folders_of_kohyas_scripts_are_explained(tmp_path: Path) -> None:
    (problem,) = read_folder(put(tmp_path, "10_sks dog/a.jpg", "10_sks dog/a.txt", "1_dog/b.jpg")).problems
    assert "for kohya's scripts: 10 repeats, identifier 'sks', class 'dog'" in problem.message
    assert str(tmp_path / "10_sks dog") in problem.remedy
    assert "Set subject.identifier to 'sks' and subject.class to 'dog'; there are no repeats" in problem.remedy


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10_sks dog", KohyaFolder(10, "sks", "dog")),
        ("5_zwx stuffed toy", KohyaFolder(5, "zwx", "stuffed toy")),
        ("1_dog", KohyaFolder(1, None, "dog")),
        ("photos", None),
        ("10_", None),
        ("2024_rome trip", None),
        ("x_sks dog", None),
    ],
)
def test_names_of_folders(name: str, expected: KohyaFolder | None) -> None:
    assert kohya_folder(name) == expected
