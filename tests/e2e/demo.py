"""Demonstrates the operator on a cluster on this machine: `make demo-cluster`.

It starts the cluster, installs the operator, applies the example, shows its progress, and copies pictures and report.
"""

import os
import shutil
import time
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.cluster import images, shared
from tests.cluster.layout import KUBECONFIG, ROOT
from tests.conftest import IMAGES, Cluster
from tests.e2e.installation import install, restrict
from tests.e2e.tenant import Tenant
from tests.patience import PATIENCE

NAMESPACE, NAME = "demo", "dog"
MANIFEST = ROOT / "examples" / NAME / "dreamboothjob.yaml"


def main(output: Path = Path("runs/demo-cluster")) -> None:
    """Trains the example dog in a cluster."""
    console = Console(highlight=False)
    console.print("cluster: starting (a quarter of an hour the first time)")
    state = shared.join(owner=0)
    if state.no_node:
        console.print(f"no containers can run here: {state.no_node}")
        raise typer.Exit(1)
    cluster = Cluster(KUBECONFIG, Path(state.binaries), None, {})
    console.print("images: building what is missing (ten minutes the first time)")
    loaded = {target: images.load(target) for target in IMAGES}
    console.print("operator: helm upgrade --install dreambooth charts/dreambooth-operator")
    install(cluster, loaded)
    if NAMESPACE not in cluster.kubectl("get", "namespaces", "--output=name").replace("namespace/", "").split():
        cluster.kubectl("create", "namespace", NAMESPACE)
    restrict(cluster, NAMESPACE)
    tenant = Tenant(cluster, NAMESPACE, loaded["operator"])
    tenant.kubectl("delete", "dbj,pvc", NAME, "--ignore-not-found", f"--timeout={PATIENCE}s")
    console.print(f"job: kubectl apply -f {os.path.relpath(MANIFEST)}")
    tenant.kubectl("apply", "--filename", MANIFEST)
    phase = _watch(tenant, console)
    console.print(tenant.kubectl("get", "dbj", NAME, "--output=wide"))
    if phase == "Complete":
        result = tenant.status(NAME)["result"]
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        run = tenant.copied_out(result["claimName"], result["path"], output)
        console.print(f"contact sheet  {run / result['sheet']}\nreport         {run / result['report']}")
    console.print(f"the cluster is still there: export KUBECONFIG={KUBECONFIG}; make cluster-down takes it away")
    raise typer.Exit(phase != "Complete")


def _watch(tenant: Tenant, console: Console) -> str:
    """Shows the progress of the DreamBoothJob until it ends."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn()
    with Progress(*columns, console=console) as bars:
        bar, reported = bars.add_task("Pending", total=100), None
        while True:
            status = tenant.status(NAME)
            progress, phase = status.get("progress", {}), status.get("phase", "Pending")
            loss = f"  loss {progress['loss']}" if "loss" in progress else ""
            said = f"{phase:9} {progress.get('phase', ''):9} step {progress.get('step', 0)}{loss}"
            if phase == "Pending" and status.get("message") != reported:
                console.print(reported := status.get("message"))
            bars.update(bar, completed=progress.get("percent", 0), description=said)
            if phase in ("Complete", "Failed"):
                return str(phase)
            time.sleep(0.5)


if __name__ == "__main__":
    typer.run(main)
