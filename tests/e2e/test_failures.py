"""Failures of DreamBoothJobs, and failed preflight checks, each with a reason and a remedy."""

import json
from typing import Any

import pytest

from tests.cluster.volumes import small_volume
from tests.e2e.installation import UNREACHABLE_REGISTRY
from tests.e2e.tenant import Tenant, reason, small
from tests.patience import PATIENCE

TOO_LARGE = {"training": {"batchSize": 128}, "resources": {"memory": "1536Mi"}}
"""A batch that exceeds the memory. With much less memory, a trainer would hang instead: the kernel would evict and read pages of
libraries repeatedly."""


def test_too_little_memory(tenant: Tenant) -> None:
    tenant.apply(small(**TOO_LARGE))
    status = tenant.until_phase("Failed")
    assert reason(status, "Failed") == ("True", "OutOfMemory")
    assert "spec.resources.memory" in status["message"]
    assert "OutOfMemory" in tenant.events()
    tenant.kubectl("wait", "--for=condition=Failed", "dbj/dog", "--timeout=5s")


def test_an_invalid_photo(tenant: Tenant) -> None:
    tenant.kubectl("create", "configmap", "texts", "--from-literal=1.jpg=no photo")
    tenant.apply(small(subject={"images": {"configMap": {"name": "texts"}}}))
    status = tenant.until_phase("Failed")
    assert reason(status, "Failed") == ("True", "InvalidData")
    assert "1.jpg" in status["message"]
    assert len(status["attempts"]) == 1


def test_a_full_volume(tenant: Tenant) -> None:
    with small_volume(tenant.cluster.kubectl, megabytes=60) as storage_class:
        tenant.apply(
            small(volumes={"output": {"create": {"size": "1Mi", "storageClassName": storage_class}}}, retries=0)
        )
        status = tenant.until_phase("Failed")
        assert reason(status, "Failed") == ("True", "StorageFull")
        assert "volume" in status["message"]
        tenant.kubectl("delete", "dbj", "dog", f"--timeout={PATIENCE}s")
        tenant.kubectl("delete", "pods", "--all", f"--timeout={PATIENCE}s")


@pytest.mark.parametrize(
    ("change", "phase", "word", "remedy"),
    [
        (
            {"subject": {"images": {"configMap": {"name": "none"}}}},
            "Pending",
            "ConfigMapNotFound",
            "subject.images.configMap.name",
        ),
        ({"volumes": {"output": {"claimName": "none"}}}, "Pending", "ClaimNotFound", "volumes.output.claimName"),
        ({"resources": {"gpusPerNode": 16}}, "Pending", "Unschedulable", "spec.resources"),
        ({"scheduling": {"nodeSelector": {"gpu": "none"}}}, "Pending", "Unschedulable", "spec.scheduling"),
        (
            {"model": {"source": "hf://nobody/nothing", "tokenSecret": {"name": "none"}}},
            "Starting",
            "ContainerConfigError",
            "spec.model.tokenSecret",
        ),
        ({"image": "elsewhere/trainer:1"}, "Failed", "InvalidConfig", "allowedImages"),
        ({"image": f"{UNREACHABLE_REGISTRY}/trainer:1"}, "Starting", "ImagePullFailed", "pull secrets"),
        ({"scheduling": {"priorityClassName": "none"}}, "Pending", "Refused", "no PriorityClass with name none"),
    ],
    ids=lambda value: value if isinstance(value, str) and value[0].isupper() else None,
)
def test_problems_before_the_training(
    tenant: Tenant, change: dict[str, Any], phase: str, word: str, remedy: str
) -> None:
    tenant.apply(small(**change))

    def reported(status: dict[str, Any]) -> bool:
        return reason(status, "Running") == ("False", word)

    status = tenant.until(reported)
    assert status["phase"] == phase
    assert remedy in status["message"], status["message"]
    assert word in tenant.events()


def test_an_attempt_starts_when_the_missing_object_is_created(tenant: Tenant) -> None:
    tenant.kubectl("delete", "configmap", "photos")
    tenant.apply(small())
    tenant.until(lambda status: reason(status, "Running") == ("False", "ConfigMapNotFound"))
    photos = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "photos"}})
    tenant.kubectl("create", "--filename", "-", stdin=photos)
    tenant.until(lambda status: status.get("attempts"))


def test_a_deadline(tenant: Tenant) -> None:
    tenant.apply(small(training={"steps": 100_000}, activeDeadlineSeconds=5))
    status = tenant.until_phase("Failed")
    assert reason(status, "Failed") == ("True", "DeadlineExceeded")
    tenant.until(lambda _: not tenant.pods())


def test_a_finished_dreamboothjob_is_deleted_after_its_ttl(tenant: Tenant) -> None:
    tenant.apply(small(**TOO_LARGE, ttlSecondsAfterFinished=1))
    tenant.kubectl("wait", "--for=delete", "dbj/dog", f"--timeout={PATIENCE}s")
