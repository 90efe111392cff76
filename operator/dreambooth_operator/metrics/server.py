"""HTTP server for `/healthz`, `/readyz` and `/metrics` of the operator; started by `main.py`."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str | None]
"""Returns the problem, or None."""


class HealthServer:
    """The HTTP server. It runs in the operator's event loop, so a blocked loop fails the probes."""

    def __init__(self, port: int, alive: Check, ready: Check) -> None:
        self._port = port
        application = web.Application()
        application.router.add_get("/healthz", _probe(alive))
        application.router.add_get("/readyz", _probe(ready))
        application.router.add_get("/metrics", _metrics)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> int:
        """Starts to listen on all addresses.

        Returns:
            The port. With port 0, IPv4 and IPv6 get different ports; this is the one of IPv4.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()
        return max((len(address) == 2, int(address[1])) for address in self._runner.addresses)[1]

    async def stop(self) -> None:
        """Stops the server."""
        await self._runner.cleanup()


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def respond(request: web.Request) -> web.StreamResponse:
        problem = check()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    return respond


async def _metrics(request: web.Request) -> web.StreamResponse:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
