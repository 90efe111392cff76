from typing import Any

import pytest

from dreambooth_operator.kube.cache import Store, key_of
from dreambooth_operator.objects.observed import Key
from tests.operator.objects_of import dreambooth_job, dreambooth_scene, job, pod

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
    assert store.owner(DOG) == dog
    assert names(store.jobs(DOG)) == ["dog-0", "dog-1"], "oldest first"
    assert names(store.pods(DOG)) == ["dog-0-0-xyz"]
    assert len(store) == 7


def test_a_scene_is_affected_by_its_job() -> None:
    dog, beach, snow = dreambooth_job("dog"), dreambooth_scene("beach"), dreambooth_scene("snow", "cat")
    store = filled(dog, beach, snow, dreambooth_scene("dog", "dog"))
    scenes = {Key("space", name, "DreamBoothScene") for name in ("beach", "dog")}
    assert store.affected(dog) == {DOG, *scenes}
    assert store.affected(beach) == {Key("space", "beach", "DreamBoothScene")}
    assert store.trained(Key("space", "beach", "DreamBoothScene")) == dog
    assert store.trained(Key("space", "snow", "DreamBoothScene")) is None
    assert store.trained(DOG) is None
    assert store.replace("DreamBoothJob", [dreambooth_job("dog", 9)], listed=9) == {DOG, *scenes}
    store.remove(dreambooth_scene("beach", version=10))
    assert store.affected(dog) == {DOG, Key("space", "dog", "DreamBoothScene")}


def test_a_job_and_a_scene_of_the_same_name_have_pods_of_their_own() -> None:
    dog, scene = dreambooth_job("dog"), dreambooth_scene("dog")
    own = job(scene)
    own["metadata"] |= {"name": "dog-scene-0", "uid": "uid-dog-scene-0", "labels": {"dreambooth.io/scene": "dog"}}
    store = filled(dog, scene, job(dog), own)
    assert names(store.jobs(DOG)) == ["dog-0"]
    assert names(store.jobs(Key("space", "dog", "DreamBoothScene"))) == ["dog-scene-0"]


def test_field_managers_are_not_kept() -> None:
    store = filled(dreambooth_job(), job(dreambooth_job()))
    assert "managedFields" not in store.jobs(DOG)[0]["metadata"]


def test_own_pods_are_those_of_jobs_that_the_dreamboothjob_controls() -> None:
    dog = dreambooth_job()
    former = job(dreambooth_job(uid="uid-of-an-earlier-dog"), 7)
    loose = pod(job(dog), index=3)
    loose["metadata"]["ownerReferences"] = []
    store = filled(dog, job(dog), pod(job(dog)), former, pod(former), loose)
    assert names(store.own_pods(DOG)) == ["dog-0-0-xyz"]
    assert len(store.pods(DOG)) == 3
    assert filled(job(dog), pod(job(dog))).own_pods(DOG) == []


def test_only_objects_in_the_chosen_namespaces_are_stored() -> None:
    dog = dreambooth_job()
    metadata = {"name": "big", "uid": "uid-big", "resourceVersion": "3"}
    big = {"kind": "DreamBoothRuntime", "metadata": metadata, "spec": {}}
    store = filled(dog, job(dog), pod(job(dog)), big)
    changes = store.subscribe()
    changes.clear()
    store.restrict({"elsewhere"})
    assert (list(store.keys()), store.jobs(DOG), store.pods(DOG), store.runtimes()) == ([], [], [], [big])
    assert changes == {DOG}
    assert not store.put(dreambooth_job(version=9))
    assert store.replace("DreamBoothJob", [dog], listed=10) == set()
    assert list(store.keys()) == []
    store.restrict({"space"})
    assert store.replace("DreamBoothJob", [dog], listed=11) == {DOG}
    assert store.owner(DOG) == dog


def test_runtimes_have_no_key_and_no_namespace() -> None:
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
    known = store.owner(DOG)
    assert known is not None and known["metadata"]["resourceVersion"] == str(max(5, version))


def test_versions_are_numbers() -> None:
    store = filled(dreambooth_job(version=99))
    assert store.put(dreambooth_job(version=100))


def test_a_late_event_does_not_restore_a_deleted_object() -> None:
    store = filled(dreambooth_job(version=5))
    assert store.remove(dreambooth_job(version=8))
    assert not store.put(dreambooth_job(version=7))
    assert store.owner(DOG) is None
    assert store.put(dreambooth_job(version=9)), "a new one of the name"


def test_a_late_deletion_does_not_remove_a_new_object_with_the_same_name() -> None:
    store = filled(dreambooth_job(version=9))
    assert not store.remove(dreambooth_job(version=8))
    assert store.owner(DOG) is not None
    assert not store.remove(dreambooth_job("cat"))


def test_removed_children_are_no_longer_found() -> None:
    dog = dreambooth_job()
    store = filled(dog, job(dog), job(dog, 1))
    assert store.remove(job(dog, version=2))
    assert names(store.jobs(DOG)) == ["dog-1"]


def test_an_object_follows_its_label() -> None:
    dog, cat = dreambooth_job("dog"), dreambooth_job("cat")
    moved = job(cat, version=3)
    moved["metadata"]["name"] = "dog-0"
    store = filled(dog, cat, job(dog))
    store.put(moved)
    assert store.jobs(DOG) == []
    assert names(store.jobs(Key("space", "cat"))) == ["dog-0"]


def test_a_list_returns_only_keys_with_changed_objects() -> None:
    dog, cat, owl, fox = (dreambooth_job(name, version=5) for name in ("dog", "cat", "owl", "fox"))
    store = filled(dog, cat, owl)
    changed = store.replace("DreamBoothJob", [dog, dreambooth_job("cat", version=6), fox], listed=10)
    assert changed == {Key("space", "cat"), Key("space", "owl"), Key("space", "fox")}
    assert set(store.keys()) == {DOG, Key("space", "cat"), Key("space", "fox")}
    assert store.replace("DreamBoothJob", [dog, dreambooth_job("cat", version=6), fox], listed=11) == set()


def test_a_list_replaces_one_kind_and_keeps_newer_objects() -> None:
    dog = dreambooth_job()
    store = filled(dog, job(dog), job(dog, 1, version=20))
    assert store.replace("Job", [], listed=10) == {DOG}
    assert names(store.jobs(DOG)) == ["dog-1"], "made after the list"
    assert store.owner(DOG) is not None


def test_a_list_forgets_earlier_deletions() -> None:
    store = filled(dreambooth_job(version=5))
    store.remove(dreambooth_job(version=8))
    store.replace("DreamBoothJob", [], listed=8)
    assert store._deleted == {}


def test_objects_without_the_label_have_no_key() -> None:
    stranger = job(dreambooth_job())
    del stranger["metadata"]["labels"]
    assert key_of(stranger) is None
    assert key_of(dreambooth_job()) == DOG
    store = filled(stranger)
    assert store.replace("Job", [], listed=5) == set()
    assert len(store) == 0


def test_an_older_list_does_not_restore_what_a_newer_one_removed() -> None:
    store = filled(dreambooth_job(version=5))
    assert store.replace("DreamBoothJob", [], listed=10) == {DOG}
    assert store.replace("DreamBoothJob", [dreambooth_job(version=5)], listed=8) == set()
    assert store.owner(DOG) is None


def test_a_late_event_does_not_restore_what_a_list_did_not_have() -> None:
    dog = dreambooth_job(version=5)
    store = filled(dog)
    store.remove(dreambooth_job(version=8))
    store.replace("DreamBoothJob", [], listed=10)
    store.replace("Job", [], listed=10)
    assert not store.put(dog), "the first list of a watch that began before the deletion"
    assert not store.put(job(dog, version=9))
    assert store.put(dreambooth_job(version=11)), "a new one of the name"


def test_the_list_of_a_namespace_replaces_the_objects_of_that_namespace() -> None:
    here, there = dreambooth_job(), dreambooth_job()
    there["metadata"]["namespace"] = "other"
    store = filled(here, there)
    assert store.replace("DreamBoothJob", [], 10, "other") == {Key("other", "dog")}
    assert store.owner(DOG) == here
    assert store.put({**there, "metadata": {**there["metadata"], "resourceVersion": "9"}}) is False
    assert store.put(dreambooth_job(version=9)), "its namespace was not listed"
