"""The chart is installed with default values, tested, upgraded, rolled back, uninstalled and reinstalled, while a DreamBoothJob
trains in one attempt and one pod."""

from collections.abc import Mapping
from typing import Any

from tests.conftest import Cluster
from tests.e2e.installation import CHART, NAMESPACE, RELEASE, install
from tests.e2e.tenant import Tenant, small
from tests.e2e.test_interruptions import LONG, in_training
from tests.patience import PATIENCE


def steps_on(tenant: Tenant, before: Mapping[str, Any]) -> dict[str, Any]:
    """Waits until the current operator reports progress of the same attempt."""
    status = tenant.until(lambda now: now["progress"]["step"] > before["progress"]["step"])
    assert status["attempts"] == before["attempts"]
    return dict(status)


def test_a_job_trains_through_install_upgrade_rollback_and_uninstall(
    uninstalled: Tenant, named_by_default: None, node: Cluster, loaded: Mapping[str, str]
) -> None:
    tenant, release = uninstalled, (RELEASE, "--namespace", NAMESPACE)
    waits = "--wait", "--timeout", f"{PATIENCE}s"

    node.helm("install", *release, CHART, *waits)
    node.helm("test", *release, "--logs", "--timeout", f"{PATIENCE}s")
    tenant.apply(small(training=LONG))
    status = in_training(tenant)
    (pod,) = tenant.pods()
    (policy,) = tenant.items("networkpolicies")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()

    install(node, loaded, "--set", "crds.enabled=true")
    status = steps_on(tenant, status)
    node.helm("test", *release, "--logs", "--timeout", f"{PATIENCE}s")

    node.helm("rollback", *release, "1", *waits)
    status = steps_on(tenant, status)

    node.helm("uninstall", *release, "--wait")
    assert node.kubectl("--namespace", NAMESPACE, "get", "deployments,services,pdb,networkpolicies", "-o", "name") == ""
    assert tenant.get("dbj/dog")["metadata"]["generation"] == 1
    assert [one["metadata"]["uid"] for one in tenant.pods()] == [pod["metadata"]["uid"]]

    node.helm("install", *release, CHART, *waits)
    steps_on(tenant, status)
    assert [one["metadata"]["uid"] for one in tenant.pods()] == [pod["metadata"]["uid"]]
    node.helm("uninstall", *release, "--wait")
