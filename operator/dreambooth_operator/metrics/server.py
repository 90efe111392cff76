"""`/healthz`, `/readyz` and `/metrics` of the operator, for the kubelet and Prometheus; started by `main.py`."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str | None]
"""Tells what is wrong, or None."""


class HealthServer:
    """The HTTP server. That it answers at all shows that the event loop turns."""

    def __init__(self, port: int, alive: Check, ready: Check) -> None:
        self._port = port
        application = web.Application()
        application.router.add_get("/healthz", _probe(alive))
        application.router.add_get("/readyz", _probe(ready))
        application.router.add_get("/metrics", _metrics)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> int:
        """Begins to answer, on all addresses.

        Returns:
            The port; of IPv4, where any free ones were asked for.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()
        return max((len(address) == 2, int(address[1])) for address in self._runner.addresses)[1]

    async def stop(self) -> None:
        """Closes the port."""
        await self._runner.cleanup()


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        wrong = check()
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    return answer


async def _metrics(request: web.Request) -> web.StreamResponse:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
