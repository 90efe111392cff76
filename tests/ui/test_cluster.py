"""The page of a namespace of a cluster, against a real API server."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import gradio as gr
import pytest

from dreambooth_client import AsyncDreamBooth
from dreambooth_operator.kube.client import ClusterError
from dreambooth_ui.jobs import Jobs
from dreambooth_ui.new_job import NewJob
from dreambooth_ui.page import page
from tests.conftest import Cluster
from tests.ui.test_shown import FORM

PHOTOS = Path(__file__).parents[2] / "examples" / "dog" / "photos"


@pytest.fixture
def dreambooth(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncDreamBooth:
    """A new namespace."""
    name = f"ui-{os.urandom(4).hex()}"
    cluster.kubectl("create", "namespace", name)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.chdir(tmp_path)
    return AsyncDreamBooth(name)


def connected(dreambooth: AsyncDreamBooth, test: Callable[[], Awaitable[None]]) -> None:
    """Runs a test while there is a connection."""

    async def run() -> None:
        async with dreambooth:
            await test()

    asyncio.run(run())


def test_photos_of_the_page_become_a_job_of_the_cluster(dreambooth: AsyncDreamBooth) -> None:
    form = FORM._replace(photos=sorted(map(str, PHOTOS.iterdir())), name="rex", gpus=0)

    async def test() -> None:
        with gr.Blocks(analytics_enabled=False):
            new, jobs = NewJob(dreambooth), Jobs(dreambooth)
        name, told = await new.submit(*form)
        assert (name, "rex is submitted" in told) == ("rex", True)
        job = await dreambooth.job("rex")
        assert job.spec["subject"]["images"]["configMap"]["name"] == "rex-photos"
        assert job.spec["training"]["steps"] == 400 and job.spec["resources"]["gpusPerNode"] == 0
        rows, _, choices, _ = await jobs.rows([])
        assert rows[0][:2] == ["rex", "Pending"] and choices["choices"] == ["rex"]
        assert await jobs.rows(rows) == (gr.skip(), gr.skip(), gr.skip(), "")

    connected(dreambooth, test)


def test_a_job_that_the_cluster_refuses_is_explained_in_the_page(dreambooth: AsyncDreamBooth) -> None:
    form = FORM._replace(photos=sorted(map(str, PHOTOS.iterdir())), name="rex", gpus=0)

    async def test() -> None:
        with gr.Blocks(analytics_enabled=False):
            new = NewJob(dreambooth)
        await new.submit(*form)
        name, told = await new.submit(*form)
        assert name is None and "DreamBoothJob rex exists" in told

    connected(dreambooth, test)


def test_an_outage_is_shown_above_the_list_until_it_is_over(
    dreambooth: AsyncDreamBooth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        with gr.Blocks(analytics_enabled=False):
            jobs = Jobs(dreambooth)
        with monkeypatch.context() as outage:
            outage.setattr(dreambooth.backend.session.cluster, "list", unreachable)  # type: ignore[attr-defined]
            assert "can&#39;t be reached: no route" in (await jobs.rows([]))[3]
        assert (await jobs.rows([]))[3] == ""

    connected(dreambooth, test)


async def unreachable(*_: object) -> None:
    raise ClusterError(0, "no route")


def test_the_page_names_the_namespace_and_offers_to_copy_files(dreambooth: AsyncDreamBooth) -> None:
    async def test() -> None:
        components = page(dreambooth).config["components"]
        values = [str(one["props"].get("value")) for one in components]
        assert any(f"Jobs of {dreambooth.backend.place}" in value for value in values)
        fetch = next(one["props"] for one in components if "from the cluster" in str(one["props"].get("value")))
        assert fetch["visible"]

    connected(dreambooth, test)
