"""Prometheus scrapes the operator and trainers in the test cluster, and the dashboard has data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.charts.monitoring.fake_dcgm import fake_dcgm_exporter
from tests.charts.monitoring.prometheus import prometheus, queries
from tests.cluster import binaries
from tests.e2e.installation import NAMESPACE
from tests.e2e.tenant import Tenant, small

SCENE = {
    "jobName": "cat",
    "prompts": ["a {identifier} {class}"],
    "perPrompt": 10_000,
    "resources": {"gpusPerNode": 0, "cpu": "500m", "memory": "4Gi", "sharedMemory": "64Mi"},
}
"""A DreamBoothScene that runs for longer than the test."""


def discovered(name: str, kubeconfig: Path, namespace: str, **more: Any) -> Mapping[str, Any]:
    """Scrapes the port `metrics` of all pods of a namespace, like the monitors of the chart."""
    prefix = "__meta_kubernetes"
    relabelings = [
        {"source_labels": [f"{prefix}_pod_container_port_name"], "regex": "metrics", "action": "keep"},
        {"source_labels": [f"{prefix}_pod_phase"], "regex": "Succeeded|Failed", "action": "drop"},
        {"source_labels": [f"{prefix}_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{prefix}_pod_name"], "target_label": "pod"},
    ]
    discovery = {"role": "pod", "kubeconfig_file": str(kubeconfig), "namespaces": {"names": [namespace]}}
    return {"job_name": name, "kubernetes_sd_configs": [discovery], "relabel_configs": relabelings, **more}


def test_each_query_of_the_dashboard_has_data(tenant: Tenant, tmp_path: Path) -> None:
    kubeconfig = tenant.cluster.kubeconfig
    scrapes = [
        discovered("operator", kubeconfig, NAMESPACE, honor_labels=True),
        discovered("trainers", kubeconfig, tenant.name),
    ]
    # Debian's package on the PATH is built without discovery in Kubernetes.
    binary = str(binaries.built("prometheus") / "prometheus") if tenant.cluster.binaries else "prometheus"
    with fake_dcgm_exporter(tenant.name) as gpus, prometheus(binary, tmp_path, [*scrapes, *gpus]) as watching:
        asked = queries(tenant.name)
        waits = {name: query for name, query in asked.items() if "longest_wait_seconds{" in query}
        # It waits while its photos are missing, so that later counters are scraped at 0 before.
        tenant.apply(small(subject={"images": {"configMap": {"name": "none"}}}), name="waiting")
        tenant.apply(SCENE, name="beach", kind="DreamBoothScene")
        watching.until_answered(waits)
        tenant.apply(small(resources={"gpusPerNode": 0}), name="cat")
        tenant.until_phase("Running", name="beach", kind="dbs")
        tenant.apply(small(training={"steps": 5000}))
        tenant.until_phase("Running")
        watching.until_answered(asked)
