"""The life cycle of a DreamBoothScene in a real cluster: from `kubectl apply` to pictures on a claim."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.e2e.tenant import Tenant, small

SCENE: dict[str, Any] = {
    "jobName": "dog",
    "prompts": ["a {identifier} {class} on the beach", "a {identifier} {class} at night"],
    "perPrompt": 3,
    "seed": 5,
    "resources": {"gpusPerNode": 1, "cpu": "500m", "memory": "4Gi", "sharedMemory": "64Mi"},
}
MANY = {**SCENE, "perPrompt": 100}


def until_complete(tenant: Tenant, name: str) -> dict[str, Any]:
    return tenant.until_phase("Complete", name=name, kind="dbs")


def files_of(tenant: Tenant, pod: str, folder: str) -> dict[str, str]:
    """The inode of each picture, as a pod sees them."""
    listed = tenant.kubectl("exec", pod, "--", "sh", "-c", f"ls -i {folder}/*.png").splitlines()
    return {Path(path).name: inode for inode, path in (line.split() for line in listed)}


def test_a_scene_waits_for_its_job_and_generates_its_pictures(tenant: Tenant, tmp_path: Path) -> None:
    tenant.apply(SCENE, name="outside", kind="DreamBoothScene")
    tenant.until(lambda status: status.get("phase") == "Pending", name="outside", kind="dbs")
    tenant.apply(small())
    status = until_complete(tenant, "outside")
    tenant.kubectl("wait", "--for=condition=Complete", "dbs/outside", "--timeout=5s")
    assert tenant.status()["phase"] == "Complete", "the scene waited"
    assert status["progress"]["pictures"] == {"done": 6, "total": 6}
    assert (status["progress"]["percent"], status["progress"]["identifier"]) == (100, "sks")
    result = status["result"]
    assert (result["claimName"], result["path"], result["step"]) == ("dog", "dog/scenes/outside", 20)
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]

    folder = tenant.copied_out(result["claimName"], result["path"], tmp_path)
    record = json.loads((folder / result["record"]).read_text())
    assert [one["seed"] for one in record["pictures"]] == [5, 6, 7] * 2
    assert {one["prompt"] for one in record["pictures"]} == {"a sks dog on the beach", "a sks dog at night"}
    assert all(Image.open(folder / one["file"]).size == (64, 64) for one in record["pictures"])
    assert (folder / result["sheet"]).exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_model_generates_after_its_job_was_deleted(tenant: Tenant, tmp_path: Path) -> None:
    tenant.apply(small(training={"method": "lora"}))
    tenant.until_phase("Complete")
    tenant.kubectl("delete", "dbj", "dog")
    model = {"source": "embedded://emoji", "adapters": [{"source": "pvc://dog/dog/model/lora"}]}
    spec = {name: value for name, value in SCENE.items() if name != "jobName"}
    tenant.apply(
        {**spec, "model": model, "volumes": {"output": {"claimName": "dog"}}}, name="later", kind="DreamBoothScene"
    )
    result = until_complete(tenant, "later")["result"]
    assert (result["claimName"], result["path"], result["pictures"]) == ("dog", "scenes/later", 6)
    folder = tenant.copied_out(result["claimName"], result["path"], tmp_path)
    record = json.loads((folder / result["record"]).read_text())
    assert {one["prompt"] for one in record["pictures"]} == {"a sks dog on the beach", "a sks dog at night"}


def test_a_scene_of_a_step_is_generated_while_the_job_trains(tenant: Tenant) -> None:
    endless = {"method": "lora", "steps": 100_000}
    tenant.apply(small(training=endless, checkpoints={"intervalSeconds": 10, "keep": 100}))
    status = tenant.until(lambda status: status.get("progress", {}).get("checkpointStep"))
    step = status["progress"]["checkpointStep"]
    tenant.apply({**SCENE, "step": step}, name="preview", kind="DreamBoothScene")
    assert until_complete(tenant, "preview")["result"]["step"] == step
    assert tenant.status()["phase"] == "Running"


def test_a_pod_that_is_deleted_is_replaced_and_generates_no_picture_twice(tenant: Tenant) -> None:
    tenant.apply(small())
    tenant.until_phase("Complete")
    tenant.apply(MANY, name="many", kind="DreamBoothScene")
    tenant.until(lambda status: status.get("progress", {}).get("pictures", {}).get("done", 0) > 0, "many", "dbs")
    (pod,) = tenant.pods()
    name = pod["metadata"]["name"]
    refused = tenant.kubectl("exec", name, "--", "sh", "-c", "touch /input/run/dog/COMPLETE 2>&1 || true")
    assert "Read-only file system" in refused
    before = files_of(tenant, name, "/output/dog/scenes/many")
    tenant.kubectl("delete", "pod", name, "--wait=false")
    tenant.until(lambda status: status.get("phase") != "Running", "many", "dbs")
    status = until_complete(tenant, "many")
    assert status["result"]["pictures"] == 200
    with tenant.pod("look", "sleep", "300", claims={"/run-of-job": "dog"}):
        after = files_of(tenant, "look", "/run-of-job/dog/scenes/many")
    assert len(before) > 0 and before.items() <= after.items()
    assert len(after) == 201
