import asyncio

import aiohttp

from dreambooth_operator.metrics.counters import QUEUE_DEPTH
from dreambooth_operator.metrics.server import HealthServer


def test_probes_return_the_results_of_the_checks_and_metrics_are_exposed() -> None:
    trouble: list[str] = []

    async def test() -> None:
        server = HealthServer(0, alive=lambda: None, ready=lambda: trouble[0] if trouble else None)
        port = await server.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(path) as answer:
                    return answer.status, await answer.text()

            assert await get("/healthz") == await get("/readyz") == (200, "ok")
            QUEUE_DEPTH.set_function(lambda: 7)
            trouble.append("the cache has not synced")
            assert await get("/readyz") == (503, "the cache has not synced")
            assert await get("/healthz") == (200, "ok")
            status, text = await get("/metrics")
            assert status == 200 and "dreambooth_operator_queue_depth 7.0" in text
            assert (await get("/"))[0] == 404
        await server.stop()

    asyncio.run(test())
