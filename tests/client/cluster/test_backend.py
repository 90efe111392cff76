"""The client of Python against a real API server, without nodes."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreambooth_api.failures import InvalidConfig
from dreambooth_client import AsyncDreamBooth, ClusterFailure, DreamBooth, NotComplete, WorkloadFailed
from tests.conftest import Cluster
from tests.operator.clusters import network
from tests.patience import PATIENCE
from tests.user_namespace import Namespace, user_namespace

PHOTOS = Path(__file__).parents[3] / "examples" / "dog" / "photos"
RUNTIME = {
    "apiVersion": "dreambooth.io/v1alpha1",
    "kind": "DreamBoothRuntime",
    "metadata": {"name": "small"},
    "spec": {},
}


@pytest.fixture
def namespace(cluster: Cluster, tmp_path: Path) -> Iterator[Namespace]:
    with user_namespace(cluster, tmp_path) as namespace:
        yield namespace


@pytest.fixture
def dreambooth(namespace: Namespace) -> Iterator[DreamBooth]:
    with DreamBooth() as dreambooth:
        yield dreambooth


def test_a_job_is_submitted_followed_and_changed(dreambooth: DreamBooth, namespace: Namespace) -> None:
    job = dreambooth.submit(PHOTOS, "dog", name="rex", model="embedded://emoji", settings={"training": {"steps": 30}})
    assert (job.name, job.phase, job.spec["training"]["steps"]) == ("rex", "Pending", 30)
    assert len(namespace.get("configmap/rex-photos")["binaryData"]) == len(list(PHOTOS.iterdir()))
    job.suspend()
    assert job.spec["suspend"] and namespace.get("dbj/rex")["spec"]["suspend"]
    job.resume()
    namespace.write_status("dbj/rex", phase="Running", progress={"step": 7, "percent": 40})
    assert job.refresh().status.progress and job.status.progress.step == 7
    with pytest.raises(TimeoutError):
        job.wait(timeout=1.5)
    with pytest.raises(NotComplete, match="has not ended"):
        job.retry()
    namespace.fail("dbj/rex")
    with pytest.raises(WorkloadFailed, match="rex has failed") as failed:
        job.wait()
    assert failed.value.reason == "OutOfMemory"
    job.retry({"training": {"batchSize": 1}})
    assert job.phase == "Pending" and job.spec["training"] == {**job.spec["training"], "steps": 30, "batchSize": 1}
    assert [one.name for one in dreambooth.jobs()] == ["rex"]
    job.delete()
    assert dreambooth.jobs() == []
    # The API server may finish the deletion of an object after its answer.
    deadline = time.monotonic() + PATIENCE
    while namespace.get("configmaps")["items"][1:]:
        assert time.monotonic() < deadline


def test_photos_are_given_one_by_one(dreambooth: DreamBooth, namespace: Namespace) -> None:
    job = dreambooth.submit(sorted(PHOTOS.iterdir())[:3], "Rex' toy", model="embedded://emoji")
    assert job.name.startswith("rex-toy-")
    assert len(namespace.get(f"configmap/{job.name}-photos")["binaryData"]) == 3


def test_a_scene_has_a_pod_like_that_of_its_job(dreambooth: DreamBooth, namespace: Namespace) -> None:
    options = {"resources": {"gpusPerNode": 0}, "runtime": "small"}
    job = dreambooth.submit(PHOTOS, "dog", name="rex", model="embedded://emoji", settings=options)
    scene = job.start_scene("a {identifier} {class}", count=2, size=(64, 128))
    spec = namespace.get(f"dbs/{scene.name}")["spec"]
    assert (spec["jobName"], spec["perPrompt"], spec["size"]) == ("rex", 2, {"width": 64, "height": 128})
    assert spec["resources"]["gpusPerNode"] == 0 and spec["runtime"] == "small"
    assert [one.name for one in dreambooth.scenes()] == [scene.name] and dreambooth.scene(scene.name).phase == "Pending"


def test_mistakes_are_explained(dreambooth: DreamBooth, namespace: Namespace) -> None:
    with pytest.raises(InvalidConfig, match=r"photos: 'nowhere' does not exist"):
        dreambooth.check(["nowhere"], "dog")
    with pytest.raises(InvalidConfig, match=r"spec\.training\.steps: 0"):
        dreambooth.submit(PHOTOS, "dog", model="embedded://emoji", settings={"training": {"steps": 0}})
    with pytest.raises(InvalidConfig, match=r"class_: None is missing"):
        dreambooth.submit(PHOTOS)
    with pytest.raises(InvalidConfig, match=r"spec\.model\.source: '/models/mine'"):
        dreambooth.check(PHOTOS, "dog", model="/models/mine")
    with pytest.raises(ClusterFailure, match="DreamBoothJob nobody does not exist"):
        dreambooth.job("nobody")
    job = dreambooth.submit(PHOTOS, "dog", name="rex", model="embedded://emoji")
    with pytest.raises(InvalidConfig, match=r"spec\.adapterScale: 20"):
        job.generate("a {identifier}", adapter_scale=20)
    with pytest.raises(ClusterFailure, match="exists in namespace"):
        dreambooth.submit(PHOTOS, "dog", name="rex", model="embedded://emoji")
    with pytest.raises(ClusterFailure, match="has no pod"):
        list(job.logs())
    with pytest.raises(ClusterFailure, match="no pod of it has started"):
        job.pictures()
    assert namespace.get("dreamboothscenes")["items"] == []


def test_runtimes_are_listed_if_one_may_see_them(
    cluster: Cluster, dreambooth: DreamBooth, namespace: Namespace
) -> None:
    assert "small" not in dreambooth.runtimes()
    cluster.kubectl("create", "--filename=-", stdin=json.dumps(RUNTIME))
    try:
        assert "small" in dreambooth.runtimes()
    finally:
        cluster.kubectl("delete", "dreamboothruntime/small")


def test_a_failed_request_says_what_to_do(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stays open over many requests, so that each of them has to explain its own failure."""

    async def run() -> None:
        async with network(cluster.kubeconfig, tmp_path / "broken") as (broken, path):
            monkeypatch.setenv("KUBECONFIG", str(path))
            async with AsyncDreamBooth(namespace.name) as dreambooth:
                assert await dreambooth.jobs() == []
                broken.break_off()
                with pytest.raises(ClusterFailure, match="the API server can't be reached"):
                    await dreambooth.jobs()
                broken.heal()
                assert await dreambooth.jobs() == []

    (tmp_path / "broken").mkdir()
    asyncio.run(run())
