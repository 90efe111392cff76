from typing import Any

import pytest

from dreambooth_api.runtime import LabelSelector, Runtime
from dreambooth_operator.decide.policies.runtimes import choose_runtime, required_references, selects
from dreambooth_operator.objects.observed import Reference
from tests.operator.fake_cluster import SETTINGS
from tests.operator.pieces import moment, read

NAMESPACE = Reference("Namespace", "space")
VISION = {"metadata": {"name": "space", "labels": {"team": "vision"}}}
OTHERS = {"matchLabels": {"team": "sound"}}


def published(name: str, created: float = 0, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": moment(created)}
    return {"kind": "DreamBoothRuntime", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("runtimes", "expected"),
    [
        ([published("a", default=True), published("b", 1, default=True)], "b"),
        ([published("b", default=True), published("a", default=True)], "a"),
        ([published("a", default=True), published("b", 1, default=True, namespaceSelector=OTHERS)], "a"),
        ([published("a", default=True), published("b", 1)], "a"),
        ([published("b", namespaceSelector=OTHERS)], None),
        ([], None),
    ],
)
def test_the_newest_default_of_the_namespace_is_chosen(runtimes: list[Any], expected: str | None) -> None:
    for order in (runtimes, runtimes[::-1]):
        found = choose_runtime(read(), order, VISION, SETTINGS)
        assert isinstance(found, Runtime) and found.name == expected


def test_a_namespace_without_labels_or_that_was_deleted_matches_an_empty_selector() -> None:
    for namespace in (None, {"metadata": {"name": "space"}}):
        found = choose_runtime(read(runtime="a"), [published("a")], namespace, SETTINGS)
        assert isinstance(found, Runtime) and found.name == "a"
        found = choose_runtime(read(runtime="a"), [published("a", namespaceSelector=OTHERS)], namespace, SETTINGS)
        assert not isinstance(found, Runtime) and found.reason == "RuntimeForbidden"


def test_available_runtimes_are_listed() -> None:
    found = choose_runtime(
        read(), [published("b"), published("a"), published("c", namespaceSelector=OTHERS)], VISION, SETTINGS
    )
    assert not isinstance(found, Runtime) and "one of these runtimes: a, b;" in found.message


@pytest.mark.parametrize("wanted", ["missing", "forbidden"])
def test_runtimes_that_the_namespace_may_use_are_named(wanted: str) -> None:
    forbidden = published("forbidden", namespaceSelector=OTHERS)
    own = published("own", namespaceSelector={"matchLabels": {"team": "vision"}})
    runtimes = [published("open"), own, forbidden, published("unsound", novelty=1)]
    found = choose_runtime(read(runtime=wanted), runtimes, VISION, SETTINGS)
    assert not isinstance(found, Runtime)
    assert "apply it with one of these runtimes: open, own." in found.message
    found = choose_runtime(read(runtime=wanted), [forbidden], VISION, SETTINGS)
    assert not isinstance(found, Runtime)
    assert "apply it without spec.runtime." in found.message


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "b"}}, {"a": "b", "c": "d"}, True),
        ({"matchLabels": {"a": "b"}}, {"a": "c"}, False),
        ({"matchLabels": {"a": ""}}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}, {"a": "c"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, {"a": "b"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}, {"a": "b"}, False),
    ],
)
def test_label_selectors_match_as_in_kubernetes(selector: Any, labels: dict[str, str], expected: bool) -> None:
    assert selects(LabelSelector.model_validate(selector), labels) is expected


@pytest.mark.parametrize(
    ("spec", "runtimes", "expected"),
    [
        ({}, [], False),
        ({}, [published("a")], False),
        ({}, [published("a", namespaceSelector=OTHERS)], True),
        ({"runtime": "b"}, [published("a", namespaceSelector=OTHERS), published("b")], False),
        ({"runtime": "b"}, [published("a", namespaceSelector=OTHERS)], True),
    ],
)
def test_the_namespace_is_requested_only_if_its_labels_matter(spec: Any, runtimes: Any, expected: bool) -> None:
    assert (NAMESPACE in required_references(read(**spec), None, runtimes)) is expected


def test_claims_of_all_candidate_runtimes_are_requested() -> None:
    runtimes = [published(name, volumes={"cache": {"claimName": f"cache-{name}"}}) for name in "ab"]
    claims = {Reference("PersistentVolumeClaim", f"cache-{name}") for name in "ab"}
    assert claims <= required_references(read(), None, runtimes)
    assert claims & required_references(read(runtime="a"), None, runtimes) == {
        Reference("PersistentVolumeClaim", "cache-a")
    }
