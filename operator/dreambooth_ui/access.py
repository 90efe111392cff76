"""Lets in the one who has the address: checks each request before Gradio sees it.

Other programs and other web pages reach the port as well: any process of this machine, and each page in the user's browser, by
requests from scripts or by a name that resolves to 127.0.0.1 (DNS rebinding).
"""

import secrets
from collections.abc import Mapping
from typing import NamedTuple

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
"""The address that the server listens at."""

HEADERS: Mapping[str, str] = {
    # Gradio evaluates the templates of its components.
    "Content-Security-Policy": (
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of each response: the browser then asks no other host, whatever stands in the page."""

OUTWARDS = "/gradio_api/proxy=", "/gradio_api/file=http", "/gradio_api/file/http"
"""Beginnings of Gradio's paths that would fetch something from another host."""


class Door(NamedTuple):
    """Where the page is, and what opens it."""

    port: int
    token: str

    @classmethod
    def at(cls, port: int) -> "Door":
        """A door with a new token."""
        return cls(port, secrets.token_urlsafe(24))

    @property
    def address(self) -> str:
        """What the user opens."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """Name of the cookie: browsers send cookies to all ports of a host."""
        return f"dreambooth-{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the browser may call this server."""
        return f"{HOST}:{self.port}", f"localhost:{self.port}"


class Guard:
    """Refuses all requests, also those for a WebSocket, that don't come from the page of one who had the address."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif (answer := self._answer(HTTPConnection(scope))) is not None:
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _answer(self, request: HTTPConnection) -> Response | None:
        """The answer to a request that Gradio must not see; None for the others."""
        if is_foreign(request.headers, self._door):
            return _refused("This page is only for the browser of the machine on which it runs.")
        if _same(request.query_params.get("token"), self._door.token):
            return self._opened(request.url.path)
        if not _same(request.cookies.get(self._door.cookie), self._door.token):
            return _refused("Open the address that `dreambooth ui` has printed: it ends with a token.")
        if request.url.path.startswith(OUTWARDS):
            return _refused("This page reads nothing from other hosts.")
        return None

    def _opened(self, path: str) -> Response:
        # Without the token, the address can be shown to others.
        response = RedirectResponse("/" + path.lstrip("/"), status_code=303)
        response.set_cookie(self._door.cookie, self._door.token, httponly=True, samesite="strict")
        return response


def is_foreign(headers: Mapping[str, str], door: Door) -> bool:
    """Whether a request has another name of the host, or comes from another page, also from one of another port of this host.

    Args:
        headers: of the request, with names in lower case.
        door: where the page is.
    """
    origins = (None, *(f"http://{host}" for host in door.hosts))
    return (
        headers.get("host") not in door.hosts
        or headers.get("origin") not in origins
        or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    )


def _same(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), token.encode())


def _refused(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", status_code=403, headers=HEADERS)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sent
