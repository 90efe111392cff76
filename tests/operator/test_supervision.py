"""The end of any part ends the process and releases the Lease, in a real API server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dreambooth_operator.kube import relist
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.main import STUCK_REQUEST_SECONDS, Operator
from dreambooth_operator.settings import Settings
from tests.operator.clusters import until
from tests.patience import PATIENCE

Part = Callable[[Operator], Any]
POLLER: Part = lambda operator: operator.progress  # noqa: E731
WORKERS: Part = lambda operator: operator.controller  # noqa: E731
RESYNC: Part = lambda operator: operator.resync  # noqa: E731


async def started(namespace: str) -> Operator:
    values = {"trainer_image": "trainer", "namespaces": namespace, "namespace": namespace, "identity": "one"}
    operator = Operator(Settings.model_validate(values | {"port": 0}), await Cluster.connect())
    await operator.serve()
    return operator


async def holder(namespace: str) -> str | None:
    cluster = await Cluster.connect()
    lease = await cluster.get("Lease", namespace, "dreambooth-operator")
    await cluster.close()
    return None if lease is None else str(lease["spec"]["holderIdentity"])


async def returning() -> None:
    await asyncio.sleep(0.5)


async def failing() -> None:
    await asyncio.sleep(0.5)
    raise KeyError("an unexpected field")


@pytest.mark.parametrize("run", [returning, failing])
@pytest.mark.parametrize("part", [POLLER, WORKERS, RESYNC], ids=["poller", "workers", "resync"])
def test_the_end_of_a_part_ends_the_process_and_releases_the_lease(
    namespace: str, part: Part, run: Callable[[], Awaitable[None]]
) -> None:
    async def test() -> None:
        operator = await started(namespace)
        original = part(operator).run

        async def until_elected() -> None:
            running = asyncio.create_task(original())
            await operator.leadership.elected.wait()
            assert await holder(namespace) == "one"
            await run()
            running.cancel()

        part(operator).run = until_elected
        await operator.start()
        await asyncio.wait_for(operator.ending.wait(), PATIENCE)
        await operator.stop()
        assert operator.failed
        assert await holder(namespace) == ""

    asyncio.run(test())


def test_a_leader_whose_lists_fail_gives_the_lease_back(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relist, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(relist, "FAILING_SECONDS", 1.0)

    async def forbidden(*_: object) -> Any:
        raise ClusterError(403, "dreamboothruntimes is forbidden")

    async def test() -> None:
        operator = await started(namespace)
        operator.settings = operator.settings.model_copy(update={"resync_seconds": 0.1})
        operator.resync._settings = operator.settings
        await operator.start()
        await asyncio.wait_for(operator.leadership.elected.wait(), PATIENCE)
        monkeypatch.setattr(operator.cluster, "list", forbidden)
        await asyncio.wait_for(operator.ending.wait(), PATIENCE)
        await operator.stop()
        assert operator.failed
        assert await holder(namespace) == ""

        waiting = await started(namespace)
        monkeypatch.setattr(waiting.cluster, "list", forbidden)
        await waiting.start()
        await asyncio.sleep(2)
        assert not waiting.leadership.elected.is_set(), "it can't list, so another replica must lead"
        assert not waiting.ending.is_set()
        assert waiting.readiness_problem() and not waiting.liveness_problem()
        await waiting.stop()

    asyncio.run(test())


def test_liveness_depends_on_single_requests(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        operator = await started(namespace)
        monkeypatch.setattr(operator.queue, "longest_run", lambda: 300.0)
        assert operator.liveness_problem() is None, "fifteen requests of 20 seconds"
        monkeypatch.setattr(operator.cluster, "longest_request", lambda: STUCK_REQUEST_SECONDS + 1)
        assert "request to the API server" in (operator.liveness_problem() or "")
        await operator.stop()

    asyncio.run(test())


def test_the_duration_of_the_running_request_is_measured(namespace: str) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        request = asyncio.create_task(cluster.get("ConfigMap", namespace, "photos"))
        await until(lambda: cluster.longest_request() > 0 or request.done())
        await request
        assert cluster.longest_request() == 0
        await cluster.close()

    asyncio.run(test())
