from typing import Any

import pytest

from dreambooth_operator.control import valid_objects
from dreambooth_operator.control.valid_objects import ValidObjects


def dreamboothjob(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-of-{name}"}}


def job(name: str, image: str = "trainer", namespace: str = "space") -> dict[str, Any]:
    """A Job with its owner, and a volume whose name contains that of the DreamBoothJob."""
    metadata = {
        "name": f"{name}-0",
        "namespace": namespace,
        "ownerReferences": [{"name": name, "uid": f"uid-of-{name}"}],
    }
    return {"kind": "Job", "metadata": metadata, "spec": {"volumes": [{"name": f"{name}-config"}], "image": image}}


def test_an_object_that_only_differs_in_the_name_is_known() -> None:
    known = ValidObjects()
    assert not known.has(job("dog"), dreamboothjob("dog"))
    known.add(job("dog"), dreamboothjob("dog"))
    assert known.has(job("cat"), dreamboothjob("cat"))


@pytest.mark.parametrize(
    ("name", "other"),
    [("cat", {"image": "another"}), ("cat", {"namespace": "elsewhere"}), ("bird", {})],
    ids=["content", "namespace", "length of the name"],
)
def test_an_object_with_another_content_is_not_known(name: str, other: dict[str, str]) -> None:
    known = ValidObjects()
    known.add(job("dog"), dreamboothjob("dog"))
    assert not known.has(job(name, **other), dreamboothjob(name))


def test_the_oldest_objects_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valid_objects, "CAPACITY", 2)
    known = ValidObjects()
    for image in "abc":
        known.add(job("dog", image), dreamboothjob("dog"))
    assert [known.has(job("dog", image), dreamboothjob("dog")) for image in "abc"] == [False, True, True]
