"""Tests of the schema validation."""

from copy import deepcopy
from typing import Any

import pytest

from tests.charts.schemas import RELEASES, faults

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "dog"},
    "spec": {"ports": [{"port": 80, "targetPort": "web"}]},
}


def service(**spec: Any) -> dict[str, Any]:
    item = deepcopy(SERVICE)
    item["spec"] |= spec
    return item


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("item", "words"),
    [
        (service(), None),
        (service(clusterip="None"), "'clusterip' was unexpected"),
        (service(ports=[{"targetPort": 80}]), "'port' is a required property"),
        (service(ports=[{"port": "80"}]), "not of type 'integer'"),
        ({**SERVICE, "apiVersion": "v2"}, "no Service of v2"),
    ],
)
def test_errors_of_a_release(release: str, item: dict[str, Any], words: str | None) -> None:
    found = faults(release, item)
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_a_field_is_unknown_in_earlier_releases() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}], "hostnameOverride": "b"}}
    assert {release for release in RELEASES if not faults(release, pod)} == {*RELEASES[3:]}
