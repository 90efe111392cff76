"""What GitOps tools conclude from a DreamBoothJob, with the libraries that they use."""

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.job import KIND
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.objects.observed import Reference
from tests.cluster import binaries
from tests.cluster.layout import ROOT
from tests.conftest import Cluster as SharedCluster
from tests.docs.written import commands
from tests.operator.clusters import applied_job, with_cluster
from tests.operator.decide.reconcile.story import DONE, QUEUED, running, spec
from tests.operator.fake_cluster import PHOTOS, FakeCluster

pytestmark = pytest.mark.slow

GITOPS = ROOT / "docs" / "gitops"
KINDS = KIND, SCENE_KIND
CHECKS = yaml.safe_load((GITOPS / "argocd-cm.yaml").read_text())["data"]
EXPRESSIONS_OF = {
    one.pop("kind"): one
    for one in yaml.safe_load((GITOPS / "flux-kustomization.yaml").read_text())["spec"]["healthCheckExprs"]
}
LUA, EXPRESSIONS = CHECKS[f"resource.customizations.health.dreambooth.io_{KIND}"], EXPRESSIONS_OF[KIND]


def test_scenes_are_assessed_as_jobs() -> None:
    assert {f"resource.customizations.health.dreambooth.io_{kind}": LUA for kind in KINDS} == CHECKS
    assert dict.fromkeys(KINDS, EXPRESSIONS) == EXPRESSIONS_OF
    assert EXPRESSIONS["apiVersion"] == API_VERSION


def asked(kind: str, item: dict[str, Any], *arguments: str) -> Any:
    """The answer of one of the libraries about an object."""
    command = [binaries.program("gitops"), kind, *arguments]
    ended = subprocess.run(command, input=json.dumps(item), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def kstatus(item: dict[str, Any]) -> str:
    return str(asked("kstatus", item)["status"])


def flux(item: dict[str, Any]) -> str:
    """The first expression that holds, in the order in which Flux evaluates them."""
    states = {"inProgress": "InProgress", "failed": "Failed", "current": "Current"}
    return next((state for name, state in states.items() if asked("cel", item, EXPRESSIONS[name])), "InProgress")


def argo_cd(item: dict[str, Any]) -> str:
    health = asked("lua", item, LUA)
    assert health["message"]
    return str(health["status"])


def settled(cluster: FakeCluster) -> dict[str, Any]:
    cluster.settle()
    return cluster.job


def unseen() -> dict[str, Any]:
    return FakeCluster().job | {"status": {"observedGeneration": -1}}


def waiting() -> dict[str, Any]:
    cluster = FakeCluster()
    del cluster.objects[Reference("ConfigMap", PHOTOS)]
    return settled(cluster)


def retried() -> dict[str, Any]:
    cluster = FakeCluster()
    cluster.fail_attempt()
    return settled(cluster)


def disrupted() -> dict[str, Any]:
    cluster = running()
    cluster.tell_to_stop(cluster.alive()[0])
    return settled(cluster)


def complete() -> dict[str, Any]:
    cluster = running()
    cluster.end(cluster.alive()[0], 0, DONE)
    return settled(cluster)


def failed() -> dict[str, Any]:
    cluster = FakeCluster(spec(retries=0))
    cluster.fail_attempt()
    return settled(cluster)


def changed(job: dict[str, Any]) -> dict[str, Any]:
    return job | {"metadata": {**job["metadata"], "generation": 2}}


SITUATIONS: list[tuple[str, Callable[[], dict[str, Any]], str, str, str]] = [
    ("not seen", unseen, "InProgress", "InProgress", "Progressing"),
    ("waits", waiting, "InProgress", "InProgress", "Progressing"),
    ("queued", lambda: settled(FakeCluster(QUEUED)), "InProgress", "InProgress", "Progressing"),
    ("starts", lambda: settled(FakeCluster()), "InProgress", "InProgress", "Progressing"),
    ("runs", lambda: settled(running()), "Current", "InProgress", "Progressing"),
    ("is disrupted", disrupted, "InProgress", "InProgress", "Progressing"),
    ("is retried", retried, "InProgress", "InProgress", "Progressing"),
    ("suspended", lambda: settled(FakeCluster(spec(suspend=True))), "Current", "Current", "Suspended"),
    ("complete", complete, "Current", "Current", "Healthy"),
    ("failed", failed, "Failed", "Failed", "Degraded"),
    ("invalid", lambda: settled(FakeCluster({"subject": {}})), "Failed", "Failed", "Degraded"),
    ("change not seen", lambda: changed(complete()), "InProgress", "InProgress", "Progressing"),
]


@pytest.mark.parametrize(
    ("arrange", "by_kstatus", "by_flux", "by_argo_cd"),
    [row[1:] for row in SITUATIONS],
    ids=[row[0] for row in SITUATIONS],
)
def test_health(arrange: Callable[[], dict[str, Any]], by_kstatus: str, by_flux: str, by_argo_cd: str) -> None:
    job = arrange()
    assert (kstatus(job), flux(job), argo_cd(job)) == (by_kstatus, by_flux, by_argo_cd)


def test_the_health_check_is_added_to_argo_cd_s_configuration(cluster: SharedCluster) -> None:
    (command,) = (one for one in commands(Path("docs/gitops.md")) if one.startswith("kubectl patch"))
    _, *arguments = shlex.split(command.replace("docs/gitops", str(GITOPS)))
    cluster.kubectl("create", "namespace", "argocd")
    try:
        cluster.kubectl("create", "configmap", "argocd-cm", "--namespace=argocd", "--from-literal=url=kept")
        cluster.kubectl(*arguments)
        (found,) = (
            one for one in cluster.items("configmaps", "--namespace=argocd") if one["data"].get("url") == "kept"
        )
        assert found["data"].items() >= CHECKS.items()
    finally:
        cluster.kubectl("delete", "namespace", "argocd", "--wait=false")


def test_a_dreamboothjob_that_no_operator_has_seen_is_in_progress(namespace: str, kubeconfig: Path) -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(applied_job(namespace))
        found = await cluster.get(KIND, namespace, "dog")
        for item in (created, found):
            assert item is not None
            assert (kstatus(dict(item)), flux(dict(item)), argo_cd(dict(item))) == (
                "InProgress",
                "InProgress",
                "Progressing",
            )

    with_cluster(test)
