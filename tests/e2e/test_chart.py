"""The chart is installed with default values, tested, upgraded, rolled back, uninstalled and reinstalled, while a DreamBoothJob
trains in one attempt and one pod."""

import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.cluster.layout import CTR, ROOT
from tests.conftest import Cluster
from tests.e2e.installation import CHART, NAMESPACE, RELEASE, install
from tests.e2e.tenant import Tenant, small
from tests.e2e.test_interruptions import LONG, in_training

CRDS = ROOT / "crds"
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]


@pytest.fixture
def named_by_default(node: Cluster, loaded: Mapping[str, str]) -> Iterator[None]:
    """The images of the project under the default names of the chart."""
    if node.images:
        pytest.skip("only images of the test cluster may get other names")
    names = {f"docker.io/library/dreambooth-{target}:{VERSION}": image for target, image in loaded.items()}
    for name, image in names.items():
        subprocess.run([*CTR, "images", "tag", "--force", image, name], check=True, capture_output=True)
    yield
    subprocess.run([*CTR, "images", "rm", *names], check=True, capture_output=True)


@pytest.fixture
def uninstalled(tenant: Tenant, node: Cluster, loaded: Mapping[str, str]) -> Iterator[Tenant]:
    """A tenant of a cluster without operator and CustomResourceDefinitions; they are restored afterwards."""
    node.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    node.kubectl("delete", "--filename", CRDS, "--timeout=120s")
    yield tenant
    node.kubectl("apply", "--server-side", "--force-conflicts", "--filename", CRDS)
    install(node, loaded)


def steps_on(tenant: Tenant, before: Mapping[str, Any]) -> dict[str, Any]:
    """Waits until the current operator reports progress of the same attempt."""
    status = tenant.until(lambda now: now["progress"]["step"] > before["progress"]["step"])
    assert status["attempts"] == before["attempts"]
    return dict(status)


def test_a_job_trains_through_install_upgrade_rollback_and_uninstall(
    uninstalled: Tenant, named_by_default: None, node: Cluster, loaded: Mapping[str, str]
) -> None:
    tenant, release = uninstalled, (RELEASE, "--namespace", NAMESPACE)
    waits = "--wait", "--timeout", "3m"

    node.helm("install", *release, CHART, *waits)
    node.helm("test", *release, "--logs", "--timeout", "2m")
    tenant.apply(small(training=LONG))
    status = in_training(tenant)
    (pod,) = tenant.pods()
    (policy,) = tenant.items("networkpolicies")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()

    install(node, loaded, "--set", "crds.install=true")
    status = steps_on(tenant, status)
    node.helm("test", *release, "--logs", "--timeout", "2m")

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
