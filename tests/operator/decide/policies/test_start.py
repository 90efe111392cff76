from typing import Any

import pytest

from dreambooth_api.runtime import DreamBoothRuntimeSpec, Runtime
from dreambooth_operator.decide.policies.start import Start, plan_start, refused_write
from dreambooth_operator.decide.programs import training_program
from dreambooth_operator.objects.observed import Reference
from tests.operator.fake_cluster import SETTINGS
from tests.operator.pieces import OWNER, read

TWO_NODES = {"resources": {"nodes": 2}}
NO_RUNTIME = Runtime(None, DreamBoothRuntimeSpec())
CLAIM = Reference("PersistentVolumeClaim", "dog")
CONFIG, POLICY = ("ConfigMap", "dog-config"), ("NetworkPolicy", "dog")


def start(spec: dict[str, Any], **present: Any) -> Start:
    job = read(**spec)
    return plan_start(OWNER, job, training_program(job), 3, {CLAIM: present.get("claim")}, NO_RUNTIME, SETTINGS)


def kinds(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(item["kind"], item["metadata"]["name"]) for item in items]


@pytest.mark.parametrize(
    ("spec", "present", "applied", "created"),
    [
        ({}, {}, [CONFIG, POLICY], [CLAIM, ("Job", "dog-3")]),
        ({}, {"claim": {}}, [CONFIG, POLICY], [("Job", "dog-3")]),
        ({"volumes": {"output": {"claimName": "shelf"}}}, {}, [CONFIG, POLICY], [("Job", "dog-3")]),
        (TWO_NODES, {}, [CONFIG, ("Service", "dog"), POLICY], [CLAIM, ("Job", "dog-3")]),
    ],
)
def test_a_start_writes_all_objects_and_the_job_last(
    spec: dict[str, Any], present: dict[str, Any], applied: list[Any], created: list[Any]
) -> None:
    made = start(spec, **present)
    assert (kinds(made.apply), kinds(made.create)) == (applied, created)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [({}, ("Starting", "Starting")), ({"scheduling": {"queueName": "team"}}, ("Queued", "Queued"))],
)
def test_the_finding_after_the_start(spec: dict[str, Any], expected: tuple[str, str]) -> None:
    finding = start(spec).finding
    assert (finding.phase, finding.reason) == expected
    assert "dog-3" in finding.message


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        (Reference("Job", "dog-3"), "Job dog-3: no quota."),
        (CLAIM, "PersistentVolumeClaim dog: no quota."),
        (Reference("Service", "dog"), "Service dog: no quota."),
        (Reference("Job", "dog-2"), None),
        (Reference("ConfigMap", "dog"), None),
    ],
)
def test_a_refused_write_is_reported(reference: Reference, named: str | None) -> None:
    found = refused_write(start(TWO_NODES), {reference: "no quota"})
    assert (found and found.reason) == (named and "Refused")
    assert named is None or (found and named in found.message)


def test_an_existing_object_is_not_reported_as_refused() -> None:
    assert refused_write(start(TWO_NODES, claim={}), {CLAIM: "no quota"}) is None
