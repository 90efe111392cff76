"""A DreamBoothScene: it waits for its DreamBoothJob, then lives as a DreamBoothJob does."""

import json
from typing import Any

import pytest

from dreambooth_api.progress import SCENE_PHASES, PhaseProgress
from dreambooth_operator.objects.observed import Reference
from tests.operator.decide.reconcile.story import reason
from tests.operator.fake_cluster import MINIMAL, FakeCluster, condition, ended_job, stamp
from tests.operator.poll.test_snapshot_validation import make_snapshot

SCENE: dict[str, Any] = {
    "jobName": "rex",
    "prompts": ["a {identifier} {class} on a beach", "in the snow"],
    "perPrompt": 3,
}
DRAWN = {"identifier": "sks", "pictures": 6, "sheet": "scene.png", "record": "scene.json"}
DONE = json.dumps({"reason": "Completed", "exitCode": 0, "message": "done", "step": 400, "result": DRAWN})
CLAIM = "PersistentVolumeClaim"


def scene(**more: Any) -> FakeCluster:
    """A scene whose DreamBoothJob is complete."""
    cluster = FakeCluster({**SCENE, **more}, kind="DreamBoothScene")
    cluster.trained = ended_job("Complete")
    cluster.add(CLAIM, "rex")
    return cluster


def running(**more: Any) -> FakeCluster:
    """A scene whose pod runs."""
    cluster = scene(**more)
    cluster.settle()
    cluster.run()
    cluster.settle()
    return cluster


def test_the_life_of_a_scene() -> None:
    cluster = running()
    assert cluster.objects.keys() == {
        Reference("ConfigMap", "photos"),
        Reference("ConfigMap", "dog-scene-config"),
        Reference("NetworkPolicy", "dog-scene"),
        Reference("Job", "dog-scene-0"),
        Reference(CLAIM, "rex"),
    }
    phases = [
        PhaseProgress(name=name, state="running", done=4, total=6, unit="pictures", seconds=1) for name in SCENE_PHASES
    ]
    cluster.snapshot = make_snapshot(phase="generate", phases=phases, step=400)
    plan = cluster.settle()
    assert reason(plan) == ("Running", "Generating")
    assert plan.status["progress"]["pictures"] == {"done": 4, "total": 6}
    assert plan.status["progress"]["step"] == 400
    cluster.end(cluster.alive()[0], 0, DONE)
    plan = cluster.settle()
    assert reason(plan) == ("Complete", "Complete")
    assert plan.status["message"] == "The result is in folder rex/scenes/dog of claim rex."
    assert plan.status["result"] == {
        "claimName": "rex",
        "path": "rex/scenes/dog",
        "pictures": 6,
        "step": 400,
        "sheet": "scene.png",
        "record": "scene.json",
    }
    assert plan.status["progress"]["pictures"] == {"done": 6, "total": 6}
    assert [event.reason for event in cluster.events] == ["Starting", "Generating", "Complete"]


@pytest.mark.parametrize(
    ("conditions", "status", "expected"),
    [
        ([], {"phase": "Running"}, ("Pending", "JobNotEnded")),
        (["Running"], {"phase": "Running"}, ("Pending", "JobNotEnded")),
        (["Suspended"], {"phase": "Suspended"}, ("Pending", "JobNotEnded")),
        (["Failed"], {"startTime": None}, ("Pending", "JobNeverStarted")),
        (["Failed"], {}, ("Starting", "Starting")),
        (["Complete"], {}, ("Starting", "Starting")),
    ],
)
def test_a_scene_waits_until_its_job_has_ended(conditions: list[str], status: dict[str, Any], expected: Any) -> None:
    cluster = scene()
    cluster.trained = ended_job(*conditions, **status)
    assert reason(cluster.settle()) == expected


BOTH, ONE = ["ReadWriteOnce", "ReadWriteMany"], ["ReadWriteOnce"]


def beside(saved: int | None, asked: list[str], bound: list[str] | None = None, **job: Any) -> FakeCluster:
    """A scene of step 100 whose DreamBoothJob trains.

    Args:
        saved: step of the newest checkpoint.
        asked: the access modes that its claim asks for.
        bound: those of its volume, if there is one.
        job: further sections of the DreamBoothJob.
    """
    cluster = scene(step=100)
    progress = {} if saved is None else {"step": saved + 9, "checkpointStep": saved}
    cluster.trained = {**ended_job("Running", phase="Running", progress=progress), "spec": {**MINIMAL, **job}}
    claim = cluster.objects[Reference(CLAIM, "rex")]
    claim["spec"] = {"accessModes": asked}
    claim["status"] = {"phase": "Bound", "accessModes": bound} if bound else {"phase": "Pending"}
    return cluster


@pytest.mark.parametrize(
    ("saved", "expected"),
    [(None, "StepNotSaved"), (99, "StepNotSaved"), (100, "Starting"), (200, "Starting")],
)
@pytest.mark.parametrize("modes", [(["ReadWriteMany"],), (ONE, BOTH)])
def test_a_scene_of_a_step_begins_beside_the_training(modes: Any, saved: int | None, expected: str) -> None:
    cluster = beside(saved, *modes)
    plan = cluster.settle()
    assert reason(plan)[1] == expected
    if saved == 99:
        assert "its newest one is that after step 99. The scene starts when" in plan.status["message"]
    if expected == "Starting":
        (container,) = cluster.current["spec"]["template"]["spec"]["containers"]
        mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
        assert mounts["/input/run"]["readOnly"] is True


@pytest.mark.parametrize("modes", [(ONE,), (ONE, ONE), (["ReadWriteOncePod"],), (BOTH, ONE), ([],)])
def test_a_scene_of_a_step_leaves_a_volume_of_one_node_to_the_training(modes: Any) -> None:
    cluster = beside(200, *modes)
    plan = cluster.settle()
    assert reason(plan) == ("Pending", "ClaimNotShared")
    assert "only one node at a time can mount PersistentVolumeClaim rex, whose" in plan.status["message"]
    cluster.trained = {**ended_job("Complete"), "spec": MINIMAL}
    assert reason(cluster.settle()) == ("Starting", "Starting")


@pytest.mark.parametrize("modes", [ONE, ["ReadOnlyMany"]])
def test_all_claims_of_the_job_must_be_shared(modes: list[str]) -> None:
    cluster = beside(100, BOTH, model={"source": "pvc://models/base"})
    cluster.add(CLAIM, "models")
    cluster.objects[Reference(CLAIM, "models")]["spec"] = {"accessModes": modes}
    assert reason(cluster.settle())[1] == ("ClaimNotShared" if modes == ONE else "Starting")


MODEL: dict[str, Any] = {
    "jobName": None,
    "model": {"source": "pvc://runs/rex/model/diffusers", "adapters": [{"source": "pvc://styles/ink.safetensors"}]},
    "volumes": {"output": {"claimName": "pictures"}},
}


def by_model(**more: Any) -> FakeCluster:
    """A scene by a model, whose claims exist."""
    spec = {name: value for name, value in {**SCENE, **MODEL, **more}.items() if value is not None}
    cluster = FakeCluster(spec, kind="DreamBoothScene")
    for claim in ("runs", "styles", "pictures"):
        cluster.add(CLAIM, claim)
    return cluster


def test_a_scene_by_a_model_needs_no_job() -> None:
    cluster = by_model()
    cluster.settle()
    cluster.run()
    assert reason(cluster.settle()) == ("Running", "Generating")
    cluster.end(cluster.alive()[0], 0, json.dumps({**json.loads(DONE), "step": None}))
    result = cluster.settle().status["result"]
    assert (result["claimName"], result["path"]) == ("pictures", "scenes/dog")
    assert "step" not in result


@pytest.mark.parametrize(
    ("claim", "field"),
    [("runs", "model.source"), ("styles", "model.adapters[0].source"), ("pictures", "volumes.output.claimName")],
)
def test_the_claims_of_a_model_must_exist(claim: str, field: str) -> None:
    cluster = by_model()
    del cluster.objects[Reference(CLAIM, claim)]
    plan = cluster.settle()
    assert reason(plan) == ("Pending", "ClaimNotFound")
    assert plan.status["message"].startswith(f"PersistentVolumeClaim {claim} (spec.{field}) does not exist")


def test_only_a_scene_with_something_of_the_hub_reaches_the_hub() -> None:
    hub = {"source": "hf://studio/style"}
    for model, reaches in (
        (MODEL["model"], False),
        ({"source": "embedded://emoji", "identifier": "a", "class": "b"}, False),
        ({"source": "embedded://emoji", "adapters": [hub], "identifier": "a", "class": "b"}, True),
        ({"source": "pvc://runs/rex", "adapters": [hub]}, True),
        ({"source": "pvc://runs/sd.safetensors", "identifier": "a", "class": "b"}, True),
        ({**hub, "identifier": "a", "class": "b"}, True),
    ):
        cluster = by_model(model=model)
        cluster.settle()
        egress = cluster.objects[Reference("NetworkPolicy", "dog-scene")]["spec"]["egress"]
        assert any("ipBlock" in peer for rule in egress for peer in rule.get("to", ())) == reaches


def test_the_secret_of_a_model_must_be_allowed() -> None:
    model = {**MODEL["model"], "source": "hf://a/b", "tokenSecret": {"name": "hub"}}
    cluster = by_model(model=model)
    assert "spec.model.tokenSecret.name: 'hub' is not among the Secrets" in cluster.settle().status["message"]
    cluster = by_model(model=model)
    cluster.publish("small", default=True, tokenSecretNames=["hub"])
    (container,) = pod_spec(cluster)["containers"]
    assert [one["name"] for one in container["env"] if "valueFrom" in one] == ["HF_TOKEN"]
    settings = cluster.objects[Reference("ConfigMap", "dog-scene-config")]["data"]["scene.json"]
    assert "tokenSecret" not in settings


def test_the_size_must_be_given_where_the_runtime_limits_pixels() -> None:
    cluster = by_model()
    cluster.publish("small", default=True, limits={"pixels": 2**20})
    assert "spec.size: None is not given" in cluster.settle().status["message"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"jobName": "rex"}, "spec.model: 'pvc://runs/rex/model/diffusers' is given in addition to jobName."),
        ({"model": None}, "spec.jobName: None is missing. Give jobName"),
        ({"volumes": {}}, "spec.volumes.output.claimName: None is missing, and there is no DreamBoothJob"),
        ({"model": {"source": "/models/dog"}}, "spec.model.source: '/models/dog' is a local path"),
        ({"model": {"source": "embedded://emoji"}}, "spec.prompts[0]: "),
    ],
)
def test_a_mistake_about_the_model_is_found_before_a_pod_starts(spec: dict[str, Any], said: str) -> None:
    plan = by_model(**spec).settle()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert said in plan.status["message"]


@pytest.mark.parametrize("path", ["../../config", "a/../../..", "-rf", "$(HF_TOKEN)"])
def test_models_stay_inside_their_volumes_which_are_read_only(path: str) -> None:
    model = {
        "source": f"pvc://runs/{path}",
        "adapters": [{"source": f"pvc://styles/{path}"}],
        "config": f"pvc://runs/{path}",
    }
    cluster = by_model(model=model)
    (container,) = pod_spec(cluster)["containers"]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert mounts["/input/claims/runs"]["readOnly"] is mounts["/input/claims/styles"]["readOnly"] is True
    settings = json.loads(cluster.objects[Reference("ConfigMap", "dog-scene-config")]["data"]["scene.json"])["model"]
    inside = f"/input/claims/{{}}/{path.replace('../', '').replace('a/', '').strip('.')}".rstrip("/").format
    assert settings == {
        "source": inside("runs"),
        "config": inside("runs"),
        "adapters": [{"source": inside("styles")}],
    }


def test_a_scene_waits_for_a_job_that_does_not_exist_yet() -> None:
    cluster = scene()
    cluster.job["metadata"]["creationTimestamp"] = stamp(cluster.now)
    cluster.trained = None
    assert reason(cluster.settle()) == ("Pending", "WaitingForObjects")
    cluster.later(60)
    plan = cluster.settle()
    assert reason(plan) == ("Pending", "JobNotFound")
    assert plan.status["message"].startswith("DreamBoothJob rex (spec.jobName) does not exist in namespace space.")
    cluster.trained = ended_job("Complete")
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_the_claim_of_the_job_must_exist() -> None:
    cluster = scene()
    del cluster.objects[Reference(CLAIM, "rex")]
    plan = cluster.settle()
    assert reason(plan) == ("Pending", "ClaimNotFound")
    assert plan.status["message"].startswith("PersistentVolumeClaim rex (spec.jobName) does not exist")


def test_a_scene_whose_job_is_deleted_while_it_runs_knows_its_result() -> None:
    cluster = running()
    cluster.trained = None
    assert reason(cluster.settle()) == ("Running", "Generating")
    cluster.end(cluster.alive()[0], 0, DONE)
    assert cluster.settle().status["result"]["path"] == "rex/scenes/dog"


def test_a_scene_is_retried_suspended_and_expires_as_a_job() -> None:
    cluster = running(retries=1, ttlSecondsAfterFinished=60)
    cluster.end(cluster.alive()[0], 8)
    plan = cluster.settle()
    assert reason(plan) == ("Retrying", "BackOff")
    cluster.later(10)
    cluster.settle()
    assert Reference("Job", "dog-scene-1") in cluster.objects
    cluster.run()
    cluster.job["spec"]["suspend"] = True
    assert cluster.reconcile().delete == [Reference("Job", "dog-scene-1")]
    cluster.end(cluster.alive()[0], 9)
    assert cluster.settle().status["phase"] == "Suspended"
    cluster.job["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    cluster.end(cluster.alive()[0], 0, DONE)
    assert cluster.settle().status["phase"] == "Complete"
    cluster.later(60)
    cluster.reconcile()
    assert cluster.gone


def test_the_runtime_limits_pictures_and_pixels() -> None:
    for limits, field in [
        ({"pictures": 5}, "spec.perPrompt"),
        ({"pixels": 10_000}, "spec.size"),
        ({"pictures": 6}, None),
    ]:
        cluster = scene(size={"width": 512, "height": 512})
        cluster.publish("small", default=True, limits=limits)
        plan = cluster.settle()
        assert reason(plan) == (("Failed", "InvalidConfig") if field else ("Starting", "Starting"))
        assert field is None or field in plan.status["message"]
    cluster = scene()
    cluster.publish("small", default=True, limits={"pixels": 2**20})
    assert "spec.size: None is not given" in cluster.settle().status["message"]
    cluster = scene()
    assert cluster.trained is not None
    cluster.trained["spec"] = {**MINIMAL, "training": {"resolution": 1024}}
    cluster.publish("small", default=True, limits={"pixels": 2**20})
    assert reason(cluster.settle()) == ("Starting", "Starting")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"prompts": []}, "spec.prompts"),
        ({"prompts": ["a {subject}"]}, "spec.prompts[0]"),
        ({"negativePrompt": "blurry", "sampler": {"guidanceScale": 1}}, "spec.negativePrompt"),
        ({"resources": {"nodes": 2}}, "spec.resources.nodes"),
        ({"resources": {"sharedMemory": "64Gi"}}, "spec.resources.sharedMemory"),
        ({"size": {"width": 500, "height": 512}}, "spec.size.width"),
    ],
)
def test_mistakes_are_found_before_a_pod_starts(spec: dict[str, Any], field: str) -> None:
    cluster = scene(**spec)
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert field in plan.status["message"]
    assert not cluster.jobs
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and accepted["status"] == "False"


@pytest.mark.parametrize(("prompt", "fits"), [("{rex} and {tom}", True), ("{identifier}", False), ("{bob}", False)])
def test_a_scene_of_several_subjects_names_them(prompt: str, fits: bool) -> None:
    cluster = scene(prompts=["at sea", prompt])
    subject = cluster.trained["spec"].pop("subject")
    cluster.trained["spec"]["subjects"] = [{**subject, "name": name, "identifier": "auto"} for name in ("rex", "tom")]
    plan = cluster.settle()
    assert reason(plan) == (("Starting", "Starting") if fits else ("Failed", "InvalidConfig"))
    if not fits:
        assert "spec.prompts[1]: " in plan.status["message"]
        assert "Use braces for {rex} and {tom} only" in plan.status["message"]
        assert not cluster.jobs


def pod_spec(cluster: FakeCluster) -> dict[str, Any]:
    cluster.settle()
    spec: dict[str, Any] = cluster.current["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("path", ["a/../../../etc", "..", "../../var/run", "$(HF_TOKEN)/x", "-rf", "a\nb"])
@pytest.mark.parametrize("claim", [None, "shelf"])
def test_pictures_stay_inside_their_volume_and_the_run_is_read_only(path: str, claim: str | None) -> None:
    output = {"path": path} | ({"claimName": claim} if claim else {})
    cluster = scene(volumes={"output": output})
    cluster.add(CLAIM, "shelf")
    spec = pod_spec(cluster)
    (container,) = spec["containers"]
    command = container["command"]
    written = command[command.index("--output") + 1]
    assert written == "/output" or written.startswith("/output/")
    assert ".." not in written.split("/") and not any("$(" in word.replace("$$", "") for word in command)
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert mounts["/input/run"]["readOnly"] is True
    assert {path for path, one in mounts.items() if not one.get("readOnly")} == {"/output", "/tmp", "/dev/shm"}


@pytest.mark.parametrize("text", ['"], "env": [["name", "LD_PRELOAD"', "$(HF_TOKEN) `id`; rm -rf /", "--output /etc"])
def test_prompts_are_data(text: str) -> None:
    cluster, ordinary = scene(prompts=[text], negativePrompt=text), scene()
    cluster.job["metadata"]["uid"] = ordinary.job["metadata"]["uid"]
    assert pod_spec(cluster) == pod_spec(ordinary)
    settings = json.loads(cluster.objects[Reference("ConfigMap", "dog-scene-config")]["data"]["scene.json"])
    assert (settings["prompts"], settings["negativePrompt"]) == ([text], text)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"image": "evil/x:1"}, "spec.image"),
        ({"scheduling": {"tolerations": [{"operator": "Exists"}]}}, "spec.scheduling.tolerations[0]"),
        ({"scheduling": {"priorityClassName": "system-cluster-critical"}}, "spec.scheduling.priorityClassName"),
        ({"resources": {"gpusPerNode": 1}}, "spec.resources.gpusPerNode"),
        ({"activeDeadlineSeconds": 31_536_000}, "spec.activeDeadlineSeconds"),
        ({"perPrompt": 10_000}, "spec.perPrompt"),
    ],
)
def test_a_runtime_limits_scenes(spec: dict[str, Any], field: str) -> None:
    cluster = scene(**{"resources": {"gpusPerNode": 0}, **spec})
    limits = {"gpusPerNode": 0, "activeDeadlineSeconds": 3600, "pictures": 100}
    cluster.publish("small", default=True, limits=limits)
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert field in plan.status["message"]
    assert not cluster.jobs


def test_a_secret_reaches_the_pod_only_where_the_administrator_allows_it() -> None:
    gated = {**MINIMAL, "model": {"source": "hf://a/b", "tokenSecret": {"name": "hub"}}}
    cluster = scene()
    cluster.trained = {**ended_job("Complete"), "spec": gated}
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert "spec.jobName: 'hub' is not among the Secrets" in plan.status["message"]
    cluster = scene()
    cluster.trained = {**ended_job("Complete"), "spec": gated}
    cluster.publish("small", default=True, tokenSecretNames=["hub"])
    (container,) = pod_spec(cluster)["containers"]
    assert [one["valueFrom"] for one in container["env"] if one["name"] == "HF_TOKEN"] == [
        {"secretKeyRef": {"name": "hub", "key": "token"}}
    ]
