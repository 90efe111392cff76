"""The commands about a cluster, typed by a user who has the role `edit` in one namespace, from photos to pictures."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.cluster.layout import ROOT
from tests.e2e.tenant import Tenant
from tests.patience import PATIENCE

DREAMBOOTH = Path(sys.executable).with_name("dreambooth")
PHOTOS = ROOT / "examples" / "dog" / "photos"
SMALL = {
    "prior.images": 8,
    "prior.otherWords": 4,
    "prior.sampler.steps": 4,
    "prior.sampler.scheduler": "ddim",
    "samples.prompts": '["a {identifier} {class}"]',
    "samples.perPrompt": 1,
    "evaluation.enabled": "false",
    "resources.cpu": "500m",
    "resources.memory": "4Gi",
    "resources.sharedMemory": "64Mi",
    "volumes.output.create.size": "1Gi",
    "checkpoints.intervalSeconds": 0,
    "checkpoints.keepLast": "true",
}
"""A training with the embedded model that takes seconds, on one fake GPU."""
OPTIONS = ["--class", "dog", "--model", "embedded://emoji", *(f"--set={name}={value}" for name, value in SMALL.items())]
Type = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def type_(editor: Path, tmp_path: Path) -> Iterator[Type]:
    """Types a command in a folder of its own; it must end with the exit code 0, unless another is given."""
    environment = {**os.environ, "KUBECONFIG": str(editor), "BROWSER": "true"}

    def type_(*words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(DREAMBOOTH), *map(str, words)]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert ended.returncode == code, f"{words}\n{ended.stdout}\n{ended.stderr}"
        return ended

    yield type_


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_from_photos_to_pictures(type_: Type, tenant: Tenant, tmp_path: Path) -> None:
    steps = "--set=training.steps=30"
    submitted = type_("submit", PHOTOS, *OPTIONS, steps, "--name=rex", "--wait")
    assert submitted.stdout.splitlines() == [
        "rex is submitted: dreambooth watch rex",
        "rex is complete: dreambooth fetch rex",
    ]
    assert "rex  Running" in submitted.stderr
    assert type_("list").stdout.split()[8:14] == ["rex", "Complete", "100", "%", "30/30", "steps"]
    assert "steps" in type_("logs", "rex", "--tail=50").stdout
    described = type_("describe", "rex").stdout
    assert "Phase:        Complete\n" in described and "Folder:       rex\n" in described
    assert json.loads(type_("describe", "rex", "--output=json").stdout)["status"]["phase"] == "Complete"

    assert type_("fetch", "rex").stdout == "runs/rex\n"
    run = tmp_path / "runs" / "rex"
    assert {"COMPLETE", "report.html", "result.json", "losses.jsonl", "model", "samples"} <= {
        path.name for path in run.iterdir()
    }
    assert not [path for path in run.rglob("*") if path.name.endswith(".part")]
    # A copy that was interrupted, one that somebody changed, and one that is there.
    weights = run / "model" / "diffusers" / "unet" / "diffusion_pytorch_model.safetensors"
    complete, state, before = weights.read_bytes(), weights.stat(), (run / "report.html").stat()
    weights.with_name(f".{weights.name}.{state.st_size}-{state.st_mtime_ns}.part").write_bytes(complete[:1_000_001])
    weights.unlink()
    (run / "result.json").write_text("{}")
    type_("fetch", "rex")
    assert weights.read_bytes() == complete
    assert json.loads((run / "result.json").read_text()) != {}
    assert (run / "report.html").stat().st_ino == before.st_ino, "it was copied again"
    assert tenant.pods() == [] and [pod for pod in tenant.items("pods") if "reader" in pod["metadata"]["name"]] == []
    # The copy generates on this machine too.
    assert len(type_("generate", run, "a {identifier} {class} at night", "-n", "1").stdout.split()) == 2

    assert type_("open", "rex").stdout == "runs/rex/report.html\n"
    pictures = type_("generate", "rex", "a {identifier} {class} on the beach", "-n", "2", "--seed=5").stdout.split()
    assert [Path(path).name for path in pictures] == [
        "a-" + type_("describe", "rex", "--output=json").stdout.split('"identifier": "')[-1].split('"')[0] + f"-{name}"
        for name in ("dog-on-the-beach-0005.png", "dog-on-the-beach-0006.png")
    ] + ["scene.png"]
    assert all(Image.open(tmp_path / path).width >= 64 for path in pictures)

    # More steps: from the last checkpoint, in the same folder.
    type_("retry", "rex", "--set=training.steps=40")
    type_("watch", "rex")
    status = tenant.status("rex")
    assert (status["progress"]["step"], status["phase"]) == (40, "Complete")
    assert "files remain on claim rex" in type_("delete", "rex").stdout
    assert [one["metadata"]["name"] for one in tenant.items("configmaps", "dreambooth.io/pictures-of")] == []
    assert [one["metadata"]["name"] for one in tenant.items("persistentvolumeclaims")] == ["rex"]


def test_a_running_job_is_watched_fetched_suspended_and_resumed(type_: Type, tenant: Tenant, tmp_path: Path) -> None:
    everywhere = "--set=samples.everySteps=5"
    type_("submit", *sorted(PHOTOS.iterdir()), *OPTIONS, everywhere, "--set=training.steps=5000", "--name=rex")
    tenant.until(lambda status: status.get("progress", {}).get("step", 0) > 12, name="rex")
    (pod,) = tenant.pods()
    assert type_("open", "rex").stdout.endswith(".png\n"), "it has pictures on the way"
    type_("fetch", "rex", "--only=report", "-o", "copy")
    losses = (tmp_path / "copy" / "losses.jsonl").read_text()
    assert len(losses.splitlines()) >= 12
    assert not (tmp_path / "copy" / "COMPLETE").exists()
    type_("fetch", "rex", "--only=report", "-o", "copy")
    assert (tmp_path / "copy" / "losses.jsonl").read_text().startswith(losses)
    assert [one["metadata"]["name"] for one in tenant.pods()] == [pod["metadata"]["name"]], "no other pod was needed"
    followed = subprocess.Popen(
        [DREAMBOOTH, "logs", "rex", "--follow"],
        env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert type_("retry", "rex", code=12).stderr.startswith("rex has not ended: it is Running")
    type_("suspend", "rex")
    tenant.until_phase("Suspended", "Running", name="rex")
    wait_for(lambda: tenant.status("rex")["phase"] == "Suspended")
    output, _ = followed.communicate(timeout=PATIENCE)
    assert followed.returncode == 0 and output
    type_("resume", "rex")
    wait_for(lambda: tenant.status("rex")["phase"] == "Running")
    type_("delete", "rex")
    assert tenant.pods() == []


def test_a_failure_ends_with_the_code_of_the_trainer(type_: Type, tenant: Tenant) -> None:
    ended = type_("submit", PHOTOS, *OPTIONS, "--set=subject.identifier=dog", "--name=rex", "--wait", code=2)
    assert "dog" in ended.stderr
