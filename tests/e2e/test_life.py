"""The life cycle of a DreamBoothJob in a real cluster: from `kubectl apply` to weights on a claim."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from tests.cluster.layout import ROOT
from tests.e2e.tenant import Tenant, reason, small


def test_apply_to_complete(tenant: Tenant, tmp_path: Path) -> None:
    spec = small(training={"steps": 60}, evaluation={"enabled": True, "perPrompt": 2})
    spec["evaluation"]["contexts"] = ["on the beach", "at night"]
    spec["evaluation"]["otherClasses"] = ["cat", "car"]
    tenant.apply(spec)

    seen: list[tuple[int, int]] = []

    def watched(status: dict[str, Any]) -> bool:
        if progress := status.get("progress"):
            seen.append((progress["percent"], progress["step"]))
        assert status.get("phase") != "Failed", f"{json.dumps(status)}\n{tenant.story()}"
        return status.get("phase") == "Complete"

    status = tenant.until(watched)
    tenant.kubectl("wait", "--for=condition=Complete", "dbj/dog", "--timeout=5s")

    assert seen == sorted(seen)
    assert any(0 < percent < 100 and 0 < step < 60 for percent, step in seen)
    assert (
        status["progress"] | {"percent": 100, "step": 60, "totalSteps": 60, "identifier": "sks"} == status["progress"]
    )
    assert reason(status, "Running") == ("False", "Complete")
    assert status["observedGeneration"] == 1
    assert 0 < status["gpuSeconds"] < 300
    result = status["result"]
    assert result["claimName"] == "dog"
    assert 0 < result["figures"]["subj"] <= 1
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert {"Starting", "Training", "Complete"} <= set(tenant.events())

    run = tenant.copied_out(result["claimName"], result["path"], tmp_path)
    assert (run / "COMPLETE").exists()
    assert (run / result["report"]).exists()
    assert (run / result["sheet"]).exists()
    pipeline = StableDiffusionPipeline.from_pretrained(run / result["model"])
    picture = pipeline("a sks dog", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (64, 64)


def test_the_trainer_has_no_credentials_and_no_privileges(tenant: Tenant) -> None:
    tenant.apply(small(training={"steps": 5000}))
    tenant.until_phase("Running")
    (pod,) = tenant.pods()
    name, spec = pod["metadata"]["name"], pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert [volume for volume in spec["volumes"] if "projected" in volume or "hostPath" in volume] == []
    inside = tenant.kubectl(
        "exec", name, "--", "sh", "-c", "id -u; touch /app/x 2>&1; ls /var/run/secrets 2>&1; grep CapEff /proc/1/status"
    )
    assert inside.splitlines()[0] == "65532"
    assert "Read-only file system" in inside
    assert "No such file" in inside
    assert "0000000000000000" in inside


def test_the_example_is_applied_as_it_is(tenant: Tenant) -> None:
    """The manifest that the command line runs; here, it only has to start."""
    manifest = (ROOT / "examples" / "dog" / "dreamboothjob.yaml").read_text()
    tenant.kubectl("apply", "--filename", "-", stdin=manifest)
    tenant.until_phase("Running")
    (config,) = tenant.items("configmaps", "dreambooth.io/job=dog")
    assert json.loads(config["data"]["train.json"])["subject"]["images"] == {"path": "/input/photos"}
