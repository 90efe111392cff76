from typing import Any

import pytest

from dreambooth_operator.kube.cache import Store, key_of
from dreambooth_operator.objects.observed import Key
from tests.operator.objects_of import dreambooth_job, job, pod

DOG = Key("space", "dog")


def filled(*items: dict[str, Any]) -> Store:
    store = Store()
    for item in items:
        store.put(item)
    return store


def names(items: list[Any]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


def test_children_are_found_by_their_label() -> None:
    dog, cat = dreambooth_job("dog"), dreambooth_job("cat")
    store = filled(dog, cat, job(dog, 1, version=2), job(dog, 0), job(cat), pod(job(dog)), pod(job(cat)))
    assert set(store.keys()) == {DOG, Key("space", "cat")}
    assert store.job(DOG) == dog
    assert names(store.jobs(DOG)) == ["dog-0", "dog-1"], "oldest first"
    assert names(store.pods(DOG)) == ["dog-0-0-xyz"]
    assert len(store) == 7


def test_field_managers_are_not_kept() -> None:
    store = filled(dreambooth_job(), job(dreambooth_job()))
    assert "managedFields" not in store.jobs(DOG)[0]["metadata"]


def test_only_pods_of_jobs_that_the_dreamboothjob_controls_are_its_own() -> None:
    dog = dreambooth_job()
    former = job(dreambooth_job(uid="uid-of-an-earlier-dog"), 7)
    loose = pod(job(dog), index=3)
    loose["metadata"]["ownerReferences"] = []
    store = filled(dog, job(dog), pod(job(dog)), former, pod(former), loose)
    assert names(store.own_pods(DOG)) == ["dog-0-0-xyz"]
    assert len(store.pods(DOG)) == 3
    assert filled(job(dog), pod(job(dog))).own_pods(DOG) == []


def test_runtimes_are_nobodys_and_in_no_namespace() -> None:
    metadata = {"name": "big", "uid": "uid-big", "resourceVersion": "3"}
    big = {"kind": "DreamBoothRuntime", "metadata": metadata, "spec": {}}
    store = filled(dreambooth_job(), big)
    assert (store.runtimes(), list(store.keys()), key_of(big)) == ([big], [DOG], None)
    assert store.replace("DreamBoothRuntime", [], listed=3) == set()
    assert (store.runtimes(), list(store.keys())) == ([], [DOG])


@pytest.mark.parametrize(("version", "news"), [(4, False), (5, False), (6, True)])
def test_the_newest_version_wins(version: int, news: bool) -> None:
    store = filled(dreambooth_job(version=5))
    assert store.put(dreambooth_job(version=version)) is news
    known = store.job(DOG)
    assert known is not None and known["metadata"]["resourceVersion"] == str(max(5, version))


def test_versions_are_numbers() -> None:
    store = filled(dreambooth_job(version=99))
    assert store.put(dreambooth_job(version=100))


def test_a_late_event_does_not_bring_back_what_is_gone() -> None:
    store = filled(dreambooth_job(version=5))
    assert store.remove(dreambooth_job(version=8))
    assert not store.put(dreambooth_job(version=7))
    assert store.job(DOG) is None
    assert store.put(dreambooth_job(version=9)), "a new one of the name"


def test_a_late_deletion_does_not_remove_the_next_of_the_name() -> None:
    store = filled(dreambooth_job(version=9))
    assert not store.remove(dreambooth_job(version=8))
    assert store.job(DOG) is not None
    assert not store.remove(dreambooth_job("cat"))


def test_removed_children_are_no_longer_found() -> None:
    dog = dreambooth_job()
    store = filled(dog, job(dog), job(dog, 1))
    assert store.remove(job(dog, version=2))
    assert names(store.jobs(DOG)) == ["dog-1"]


def test_a_label_that_moves_takes_the_object_with_it() -> None:
    dog, cat = dreambooth_job("dog"), dreambooth_job("cat")
    moved = job(cat, version=3)
    moved["metadata"]["name"] = "dog-0"
    store = filled(dog, cat, job(dog))
    store.put(moved)
    assert store.jobs(DOG) == []
    assert names(store.jobs(Key("space", "cat"))) == ["dog-0"]


def test_a_list_tells_whose_objects_differ_and_only_those() -> None:
    dog, cat, owl, fox = (dreambooth_job(name, version=5) for name in ("dog", "cat", "owl", "fox"))
    store = filled(dog, cat, owl)
    changed = store.replace("DreamBoothJob", [dog, dreambooth_job("cat", version=6), fox], listed=10)
    assert changed == {Key("space", "cat"), Key("space", "owl"), Key("space", "fox")}
    assert set(store.keys()) == {DOG, Key("space", "cat"), Key("space", "fox")}
    assert store.replace("DreamBoothJob", [dog, dreambooth_job("cat", version=6), fox], listed=11) == set()


def test_a_list_is_of_one_kind_and_does_not_undo_what_is_newer() -> None:
    dog = dreambooth_job()
    store = filled(dog, job(dog), job(dog, 1, version=20))
    assert store.replace("Job", [], listed=10) == {DOG}
    assert names(store.jobs(DOG)) == ["dog-1"], "made after the list"
    assert store.job(DOG) is not None


def test_a_list_forgets_what_was_gone_before_it() -> None:
    store = filled(dreambooth_job(version=5))
    store.remove(dreambooth_job(version=8))
    store.replace("DreamBoothJob", [], listed=8)
    assert store._gone == {}


def test_objects_without_our_label_belong_to_nobody() -> None:
    stranger = job(dreambooth_job())
    del stranger["metadata"]["labels"]
    assert key_of(stranger) is None
    assert key_of(dreambooth_job()) == DOG
    store = filled(stranger)
    assert store.replace("Job", [], listed=5) == set()
    assert len(store) == 0
