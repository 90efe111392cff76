"""Prometheus scrapes an operator and a small trainer, and each query of the dashboard has data."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.charts.monitoring.fake_dcgm import fake_dcgm_exporter
from tests.charts.monitoring.prometheus import Prometheus, prometheus, queries
from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.e2e.tenant import Tenant, small
from tests.operator.operators import operator
from tests.permissions import write_completion
from tests.ports import free_port

STEPS = 100_000
"""More than the test waits for; it stops the trainer."""
SCENE = {"jobName": "cat", "prompts": ["a {identifier} {class}"], "resources": {"gpusPerNode": 0}}
SECTIONS = "model", "prior", "training", "checkpoints", "samples", "evaluation"


@contextmanager
def trainer(folder: Path, port: int) -> Iterator[None]:
    """Runs a trainer as its pod would."""
    spec = small(training={"steps": STEPS}, checkpoints={"intervalSeconds": 600})
    photos = {"path": str(ROOT / "examples" / "dog" / "photos")}
    config = {name: spec[name] for name in SECTIONS} | {"subject": {**spec["subject"], "images": photos}}
    (folder / "train.json").write_text(json.dumps(config))
    options = {"--config": "train.json", "--output": "run", "--cache": "cache", "--port": str(port)}
    words = [word for option in options.items() for word in option]
    command = [sys.executable, "-m", "dreambooth_trainer", *words]
    with (
        (folder / "trainer.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as it,
    ):
        try:
            yield
        finally:
            it.kill()


def run_pod(tenant: Tenant, pod: dict[str, Any]) -> None:
    """Updates the status of a pod as a kubelet would, with a loopback address."""
    now = pod["metadata"]["creationTimestamp"]
    container = {"name": "trainer", "ready": True, "restartCount": 0, "image": "trainer", "imageID": "trainer"}
    status = {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "startTime": now,
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}],
        "containerStatuses": [{**container, "state": {"running": {"startedAt": now}}}],
    }
    patch = f"--patch={json.dumps({'status': status})}"
    tenant.kubectl("patch", "pod", pod["metadata"]["name"], "--subresource=status", patch)


def lint(cluster: Cluster, address: str) -> str:
    """The problems that promtool finds in the metrics of an address."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        scraped = answer.read()
    ended = subprocess.run([cluster.binary("promtool"), "check", "metrics"], input=scraped, capture_output=True)
    return (ended.stdout + ended.stderr).decode() if ended.returncode else ""


@pytest.mark.slow
def test_each_query_has_data_and_the_metrics_are_clean(tenant: Tenant, tmp_path: Path) -> None:
    cluster, port, asked = tenant.cluster, free_port(), queries(tenant.name)
    operator_address, trainer_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}"
    settings = {
        "port": operator_address.rpartition(":")[2],
        "trainer_port": port,
        "trainer_networks": "127.0.0.0/8",
        "poll_seconds": 0.5,
    }
    labels = {"namespace": tenant.name, "pod": "dog-0-0"}
    scrapes = [
        {"job_name": "operator", "honor_labels": True, "static_configs": [{"targets": [operator_address]}]},
        {"job_name": "trainers", "static_configs": [{"targets": [trainer_address], "labels": labels}]},
    ]

    def story(watching: Prometheus) -> None:
        # The pods must not be scheduled: a kubelet would overwrite their statuses.
        nowhere = {"scheduling": {"nodeSelector": {"no-such-label": "anywhere"}}}
        tenant.apply(small(training={"steps": STEPS}, **nowhere))
        tenant.apply(SCENE | nowhere, name="beach", kind="DreamBoothScene")
        tenant.apply(small(suspend=True), name="cat")
        # Counters that increase at the start of the pod must be scraped at 0 before.
        waits = {name: query for name, query in asked.items() if "longest_wait_seconds{" in query}
        watching.until_answered(waits)
        tenant.until_phase("Suspended", name="cat")
        write_completion(cluster, tenant.name, "cat")

        def answered(status: dict[str, Any]) -> bool:
            # The scheduler overwrites the status whenever it looks at a pod again.
            for pod in tenant.pods():
                run_pod(tenant, pod)
            return status.get("phase") == "Running" and not watching.unanswered(asked)

        tenant.until(answered)
        assert lint(cluster, operator_address) == lint(cluster, trainer_address) == ""

    async def test() -> None:
        async with operator(cluster.kubeconfig, tenant.name, **settings):
            await asyncio.to_thread(story, watching)

    with (
        fake_dcgm_exporter(tenant.name) as gpus,
        prometheus(cluster.binary("prometheus"), tmp_path, [*scrapes, *gpus]) as watching,
        trainer(tmp_path, port),
    ):
        asyncio.run(test())
