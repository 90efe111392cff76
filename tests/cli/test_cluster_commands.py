"""The commands about a cluster against a real API server, without nodes: tests write the statuses that an operator would."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from dreambooth_cli import app
from tests.conftest import Cluster
from tests.patience import PATIENCE
from tests.user_namespace import Namespace, user_namespace

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "dog" / "photos"
SUBMIT = ["submit", str(PHOTOS), "--class", "dog", "--model", "embedded://emoji"]
Type = Callable[..., Result]


@pytest.fixture
def namespace(cluster: Cluster, tmp_path: Path) -> Iterator[Namespace]:
    """A namespace of the user who types."""
    with user_namespace(cluster, tmp_path) as namespace:
        yield namespace


@pytest.fixture
def type_(namespace: Namespace) -> Type:
    """Types a command; it must end with the exit code 0, unless another is given."""

    def type_(*words: str, code: int = 0) -> Result:
        ended = CliRunner().invoke(app, list(words))
        assert ended.exit_code == code, f"{words}\n{ended.output}\n{ended.exception!r}"
        return ended

    return type_


def test_submit_creates_the_job_and_its_photos(type_: Type, namespace: Namespace) -> None:
    said = type_(*SUBMIT, "--name=rex", "--set=training.steps=500", '--set=samples.prompts=["a {identifier}"]')
    assert said.stdout == "rex is submitted: dreambooth watch rex\n"
    spec = namespace.get("dbj/rex")["spec"]
    assert spec["model"]["source"] == "embedded://emoji"
    assert (spec["training"]["steps"], spec["training"]["method"]) == (500, "lora")
    assert spec["samples"]["prompts"] == ["a {identifier}"]
    photos = namespace.get("configmap/rex-photos")
    assert spec["subject"]["images"] == {"configMap": {"name": "rex-photos"}}
    assert len(photos["binaryData"]) == len(list(PHOTOS.iterdir()))
    again = type_(*SUBMIT, "--name=rex", code=11)
    assert again.stderr.startswith("DreamBoothJob rex exists in namespace")


def test_submit_names_the_job_after_its_class(type_: Type) -> None:
    words = [word.replace("dog", "Rex' toy 2") if word == "dog" else word for word in SUBMIT]
    name = type_(*words, "-o", "name").stdout.strip().removeprefix("dreamboothjob.dreambooth.io/")
    assert name.startswith("rex-toy-") and len(name) == len("rex-toy-") + 6


def test_submit_takes_a_manifest_with_its_photos(type_: Type, namespace: Namespace, tmp_path: Path) -> None:
    example = ROOT / "examples" / "dog" / "dreamboothjob.yaml"
    type_("submit", "-f", str(example), "--name=rex", "--runtime=small")
    spec = namespace.get("dbj/rex")["spec"]
    assert spec["subject"]["identifier"] == "sks" and spec["runtime"] == "small"
    assert spec["subject"]["images"] == {"configMap": {"name": "rex-photos"}}
    assert len(namespace.get("configmap/rex-photos")["binaryData"]) == 5
    document = next(one for one in yaml.safe_load_all(example.read_text()) if one["kind"] == "DreamBoothJob")
    document["metadata"]["name"] = "tom"
    document["spec"]["subject"]["images"] = {"path": "my photos"}
    document["spec"]["subject"]["captions"] = {"1.png": "a {identifier} {class} on a sofa"}
    document["spec"]["prior"]["source"] = {"path": "class"}
    for name in ("my photos", "class"):
        (tmp_path / name).mkdir()
    (tmp_path / "my photos" / "1.png").write_bytes(next(iter(sorted(PHOTOS.iterdir()))).read_bytes())
    (tmp_path / "class" / "other.png").write_bytes(
        sorted((ROOT / "examples/backpack/photos").iterdir())[0].read_bytes()
    )
    (tmp_path / "tom.yaml").write_text(yaml.safe_dump(document))
    type_("submit", "-f", "tom.yaml")
    spec = namespace.get("dbj/tom")["spec"]
    assert spec["prior"]["source"] == {"configMap": {"name": "tom-class-images"}}
    assert list(spec["subject"]["captions"]) == list(namespace.get("configmap/tom-photos")["binaryData"])


def test_a_dry_run_prints_what_kubectl_can_apply(type_: Type, namespace: Namespace) -> None:
    printed = type_(*SUBMIT, "--name=rex", "--dry-run").stdout
    assert namespace.get("configmaps,dreamboothjobs")["items"][1:] == []
    namespace.kubectl("apply", "--server-side", "--filename=-", stdin=printed)
    assert namespace.get("dbj/rex")["spec"]["subject"]["class"] == "dog"


def test_photos_of_several_subjects_are_in_a_config_map_each(type_: Type, namespace: Namespace, tmp_path: Path) -> None:
    other = PHOTOS.parents[1] / "teapot" / "photos"
    spec = {
        "model": {"source": "embedded://emoji"},
        "subjects": [
            {"name": "rex", "class": "dog", "images": {"path": str(PHOTOS)}},
            {"name": "pot", "class": "teapot", "images": {"path": str(other)}},
        ],
        "resources": {"gpusPerNode": 0},
    }
    head = {"apiVersion": "dreambooth.io/v1alpha1", "kind": "DreamBoothJob", "metadata": {"name": "pair"}}
    (tmp_path / "pair.yaml").write_text(yaml.safe_dump({**head, "spec": spec}))
    type_("submit", "-f", str(tmp_path / "pair.yaml"))
    named = [one["images"]["configMap"]["name"] for one in namespace.get("dbj/pair")["spec"]["subjects"]]
    assert named == ["pair-photos-rex", "pair-photos-pot"]
    for name, folder in zip(named, (PHOTOS, other), strict=True):
        assert len(namespace.get(f"configmap/{name}")["binaryData"]) == len(list(folder.iterdir()))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["submit"], 2, "PHOTOS: None is missing. Give photos and their class, or a manifest."),
        (["submit", str(PHOTOS)], 2, "--class: None is missing"),
        (["submit", "nowhere", "--class=dog"], 2, "PHOTOS: 'nowhere' does not exist"),
        ([*SUBMIT, "--name=Rex"], 2, "metadata.name: 'Rex' has the wrong form"),
        ([*SUBMIT, "--set=training.steps"], 2, "--set: 'training.steps' sets no field"),
        ([*SUBMIT, "--set=training.steps=0"], 2, "spec.training.steps: 0"),
        ([*SUBMIT, "--set=trainig.steps=5"], 2, "spec.trainig"),
        ([*SUBMIT, "--set=training=5", "--set=training.steps=5"], 2, "sets a field of a value"),
        (["submit", "-f", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["submit", str(PHOTOS), "--class=dog", "--model=/models/mine"], 2, "spec.model.source: '/models/mine'"),
        (["watch", "nobody"], 11, "DreamBoothJob nobody does not exist in namespace"),
        (["watch", "scene/nobody"], 11, "DreamBoothScene nobody does not exist"),
        (["describe", "pod/x"], 2, "NAME: 'pod/x' names no workload"),
        (["list", "--context=nowhere"], 11, "no cluster: "),
        (["fetch", "rex", "--only=everything"], 2, "--only: 'everything' names no parts"),
    ],
)
def test_mistakes_are_explained(words: list[str], code: int, said: str, type_: Type) -> None:
    ended = type_(*words, code=code)
    assert said in ended.stderr and ended.stdout == ""
    assert "Traceback" not in ended.output


def test_photos_that_do_not_fit_into_one_config_map_are_in_several(
    type_: Type, namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    for number in range(3):
        noise = [Image.effect_noise((600, 600), 200) for _ in range(3)]
        Image.merge("RGB", noise).save(tmp_path / f"{number}.png")
    command = ["submit", *(str(path) for path in sorted(tmp_path.glob("*.png"))), "--class=dog", "--model=hf://a/b"]
    type_(*command, "--name=rex")
    named = [one["name"] for one in namespace.get("dbj/rex")["spec"]["subject"]["images"]["configMaps"]]
    assert len(named) > 1 and named == [f"rex-photos-{number + 1}" for number in range(len(named))]
    files = [name for one in named for name in namespace.get(f"configmap/{one}")["binaryData"]]
    assert files == ["00-0.avif", "01-1.avif", "02-2.avif"]
    type_("delete", "rex")
    # The API server may finish the deletion of an object after its answer.
    deadline = time.monotonic() + PATIENCE
    while [one["metadata"]["name"] for one in namespace.get("configmaps")["items"]] != ["kube-root-ca.crt"]:
        assert time.monotonic() < deadline

    monkeypatch.setattr("dreambooth_client.photos.MOST_CONFIG_MAPS", 1)
    said = type_(*command, code=2).stderr
    assert re.search(r"spec\.subject\.images: '\d\.\d MB' is the size of the pictures", said)
    assert "persistentVolumeClaim" in said


def test_list_and_describe(type_: Type, namespace: Namespace) -> None:
    assert type_("list").stderr == f"no DreamBoothJobs or DreamBoothScenes in namespace {namespace.name}\n"
    type_(*SUBMIT, "--name=rex")
    scene = {"jobName": "rex", "prompts": ["a {identifier} {class}"]}
    item = {"apiVersion": "dreambooth.io/v1alpha1", "kind": "DreamBoothScene", "metadata": {"name": "beach"}}
    namespace.kubectl("create", "--filename=-", stdin=json.dumps({**item, "spec": scene}))
    progress = {"phase": "train", "step": 20, "totalSteps": 400, "percent": 40, "loss": 0.012345, "etaSeconds": 150}
    namespace.write_status("dbj/rex", phase="Running", progress=progress, runtime="small", gpuSeconds=7200)
    namespace.write_status("dbs/beach", phase="Pending", message="DreamBoothJob rex has not ended.")
    lines = [line.split(maxsplit=8) for line in type_("list").stdout.splitlines()]
    assert lines[0] == ["NAME", "PHASE", "PROGRESS", "DONE", "LOSS", "LEFT", "AGE", "MESSAGE"]
    assert lines[1][:8] == ["rex", "Running", "40", "%", "20/400", "steps", "0.01235", "2m"]
    assert lines[2][:2] == ["scene/beach", "Pending"] and " ".join(lines[2]).endswith("rex has not ended.")
    assert type_("list", "--output=name").stdout.split() == [
        "dreamboothjob.dreambooth.io/rex",
        "dreamboothscene.dreambooth.io/beach",
    ]
    everywhere = json.loads(type_("list", "-A", "-o", "json").stdout)["items"]
    assert {"rex", "beach"} <= {one["metadata"]["name"] for one in everywhere}
    described = dict(line.split(": ", 1) for line in type_("describe", "rex").stdout.splitlines())
    assert {name: text.strip() for name, text in described.items()} | {
        "Name": "rex",
        "Phase": "Running",
        "Runtime": "small",
        "GPU time": "2h",
        "Model": "embedded://emoji",
        "Progress": "train  40 %  20/400 steps  loss 0.01235  2m left",
    } == {name: text.strip() for name, text in described.items()}
    assert re.search(r"^Job: +rex$", type_("describe", "scene/beach").stdout, re.MULTILINE)
    assert yaml.safe_load(type_("describe", "scene/beach", "-o", "yaml").stdout)["spec"]["jobName"] == "rex"


def test_a_status_of_another_version_does_not_stop_a_command(type_: Type, namespace: Namespace) -> None:
    type_(*SUBMIT, "--name=rex")
    namespace.write_status("dbj/rex", phase="Dreaming", message="of \x1b[31m sheep")
    said = type_("list").stdout
    assert "Dreaming" in said and "\x1b" not in said


def test_watch_follows_until_the_end(type_: Type, namespace: Namespace) -> None:
    type_(*SUBMIT, "--name=rex")

    def play() -> None:
        for percent in (10, 55):
            progress = {"phase": "train", "percent": percent, "step": percent, "totalSteps": 100}
            namespace.write_status("dbj/rex", phase="Running", progress=progress)
            time.sleep(2.5)
        namespace.fail("dbj/rex")

    operator = threading.Thread(target=play)
    operator.start()
    said = type_("watch", "rex", code=5).stderr
    operator.join()
    assert "rex  Running  train  10 %  10/100 steps\n" in said and "rex  Running  train  55 %  55/100 steps\n" in said
    assert said.endswith("rex has failed (OutOfMemory): lower the batch\n")


def test_suspend_resume_and_delete(type_: Type, namespace: Namespace) -> None:
    type_(*SUBMIT, "--name=rex")
    assert type_("suspend", "rex").stdout == "rex is suspended\n"
    assert namespace.get("dbj/rex")["spec"]["suspend"] is True
    assert type_("resume", "rex").stdout == "rex is resumed\n"
    assert namespace.get("dbj/rex")["spec"]["suspend"] is False
    assert type_("delete", "rex").stdout == "rex is deleted; its files remain on claim rex\n"
    assert "rex" not in namespace.kubectl("get", "dbj,configmap", "--output=name")
    type_(*SUBMIT, "--name=rex")
    namespace.fail("dbj/rex")
    assert type_("suspend", "rex", code=12).stderr == "rex can't be suspended: it is Failed.\n"


def test_delete_leaves_the_config_maps_of_others(type_: Type, namespace: Namespace) -> None:
    namespace.kubectl("create", "configmap", "rex-photos", "--from-literal=a=b")
    assert "is not of this command" in type_(*SUBMIT, "--name=rex", code=11).stderr
    assert "rex" not in namespace.kubectl("get", "dbj", "--output=name")
    printed = type_(*SUBMIT, "--name=rex", "--dry-run").stdout
    job = next(one for one in yaml.safe_load_all(printed) if one["kind"] == "DreamBoothJob")
    namespace.kubectl("create", "--filename=-", stdin=json.dumps(job))
    type_("delete", "rex")
    assert "rex-photos" in namespace.kubectl("get", "configmaps", "--output=name")


def test_retry_replaces_a_failed_job(type_: Type, namespace: Namespace, tmp_path: Path) -> None:
    type_(*SUBMIT, "--name=rex")
    assert type_("retry", "rex", code=12).stderr.startswith("rex has not ended: it is Pending")
    namespace.kubectl("label", "dbj", "rex", "team=a")
    namespace.fail("dbj/rex")
    before = namespace.get("dbj/rex")["metadata"]["uid"]
    refused = type_("retry", "rex", "--set=training.batchSize=0", code=11).stderr
    assert "spec.training.batchSize" in refused
    assert namespace.get("dbj/rex")["metadata"]["uid"] == before, "nothing is deleted for a wrong manifest"
    type_("retry", "rex", "--set=training.batchSize=2")
    after = namespace.get("dbj/rex")
    assert after["metadata"]["uid"] != before and after["metadata"]["labels"] == {"team": "a"}
    assert after["spec"]["training"]["batchSize"] == 2 and after["status"].get("phase") != "Failed"
    assert "configmap/rex-photos" in namespace.kubectl("get", "configmaps", "--output=name")
    assert list(tmp_path.glob("*.retry.json")) == [], "the manifest is in the cluster"


def test_retry_does_not_delete_the_claim_that_it_needs(type_: Type, namespace: Namespace) -> None:
    type_(*SUBMIT, "--name=rex", "--set=volumes.output.create.deletionPolicy=Delete")
    namespace.fail("dbj/rex")
    assert "deletionPolicy: Delete" in type_("retry", "rex", code=11).stderr


def test_a_complete_job_without_checkpoints_stays_complete(type_: Type, namespace: Namespace) -> None:
    type_(*SUBMIT, "--name=rex")
    namespace.write_status("dbj/rex", phase="Complete")
    assert "checkpoints.keepLast was false" in type_("retry", "rex", "--set=training.steps=900", code=12).stderr


def test_files_and_logs_need_a_pod(type_: Type, namespace: Namespace) -> None:
    type_(*SUBMIT, "--name=rex")
    namespace.write_status("dbj/rex", phase="Pending", message="no GPU is free")
    assert (
        type_("fetch", "rex", code=11).stderr == "rex has no files: no pod of it has started. Pending: no GPU is free\n"
    )
    assert type_("logs", "rex", code=11).stderr == "rex has no pod. Pending: no GPU is free\n"


def test_generate_makes_a_scene_like_its_job(type_: Type, namespace: Namespace) -> None:
    type_(*SUBMIT, "--name=rex", "--set=resources.gpusPerNode=4", "--set=resources.cpu='2'", "--runtime=small")

    def fail() -> None:
        deadline = time.monotonic() + PATIENCE
        while not (names := namespace.kubectl("get", "dbs", "--output=name").split()):
            assert time.monotonic() < deadline
        namespace.fail(names[0].replace("dreamboothscene.dreambooth.io", "dbs"))

    operator = threading.Thread(target=fail)
    operator.start()
    type_("generate", "rex", "a {identifier} {class}", "-n", "2", "--seed=7", "--size=128", code=5)
    operator.join()
    (scene,) = namespace.get("dbs")["items"]
    spec = scene["spec"]
    assert (spec["jobName"], spec["prompts"], spec["perPrompt"], spec["seed"]) == (
        "rex",
        ["a {identifier} {class}"],
        2,
        7,
    )
    assert spec["size"] == {"width": 128, "height": 128}
    assert (spec["resources"]["gpusPerNode"], spec["resources"]["cpu"], spec["runtime"]) == (1, "2", "small")
    assert type_("generate", "nobody", "a dog", code=11).stderr.startswith("DreamBoothJob nobody does not exist")
    assert "Give the output folder of a run" in type_("generate", "runs/nobody", "a dog", code=2).stderr


def test_what_may_not_be_done_is_named(namespace: Namespace, type_: Type, tmp_path: Path) -> None:
    namespace.kubectl("create", "serviceaccount", "nobody")
    file = tmp_path / "kubeconfig"
    document = yaml.safe_load(file.read_text())
    token = namespace.kubectl("create", "token", "nobody").strip()
    document["users"] = [{"name": document["contexts"][0]["context"]["user"], "user": {"token": token}}]
    file.write_text(yaml.safe_dump(document))
    said = type_("list", code=11).stderr
    assert 'cannot list resource "dreamboothjobs"' in said and "Ask an administrator for this permission" in said
    document["users"][0]["user"]["token"] = "wrong"
    file.write_text(yaml.safe_dump(document))
    assert "does not accept the credentials" in type_("list", code=11).stderr


def documented_permissions() -> dict[str, list[dict[str, list[str]]]]:
    """The rules of a Role for each command, from the table in docs/commands.md."""
    text = (ROOT / "docs" / "commands.md").read_text()
    rules: dict[str, list[dict[str, list[str]]]] = {}
    for names, verbs, others in re.findall(r"^\| (`[^|]+`) \| ([a-z, ]+) \|([^|]*)\|$", text, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            workloads = {"apiGroups": ["dreambooth.io"], "resources": ["dreamboothjobs", "dreamboothscenes"]}
            further = [
                {"apiGroups": ["", "batch"], "resources": [resource], "verbs": given.strip().split(", ")}
                for resource, given in re.findall(r"`([a-z/]+)`: ([a-z, ]+)", others)
            ]
            inherited = re.match(r" as `(\w+)`", others)
            rules[name] = [
                workloads | {"verbs": verbs.split(", ")},
                *(rules[inherited[1]][1:] if inherited else further),
            ]
    return rules


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list"], 0),
        (["watch", "failed"], 5),
        (["describe", "rex"], 0),
        (["logs", "rex"], 11),
        (["fetch", "rex"], 11),
        (["submit", str(PHOTOS), "--class=dog", "--model=embedded://emoji", "--name=tom"], 0),
        (["suspend", "rex"], 0),
        (["resume", "rex"], 0),
        (["retry", "failed"], 0),
        (["delete", "rex"], 0),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_documented_permissions_are_enough(
    words: list[str], code: int, type_: Type, namespace: Namespace, tmp_path: Path
) -> None:
    for name in ("rex", "failed"):
        type_(*SUBMIT, f"--name={name}")
    namespace.fail("dbj/failed")
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "ann"}}
    namespace.kubectl("create", "-f", "-", stdin=json.dumps({**role, "rules": documented_permissions()[words[0]]}))
    namespace.kubectl("create", "serviceaccount", "ann")
    namespace.kubectl("create", "rolebinding", "ann", "--role=ann", f"--serviceaccount={namespace.name}:ann")
    file = tmp_path / "kubeconfig"
    document = yaml.safe_load(file.read_text())
    token = namespace.kubectl("create", "token", "ann").strip()
    document["users"] = [{"name": document["contexts"][0]["context"]["user"], "user": {"token": token}}]
    file.write_text(yaml.safe_dump(document))
    assert "permission" not in type_(*words, code=code).stderr
