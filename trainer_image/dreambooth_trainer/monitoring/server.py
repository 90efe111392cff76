"""The HTTP server of a run: `/progress`, `/metrics` and `/healthz` on one port.

`start.py` starts it on rank 0. The operator, Prometheus and the kubelet send requests to it. The server only reads the
progress; no request can change a run.
"""

import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from prometheus_client.exposition import choose_encoder

from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.monitoring.prometheus import registry_of

_CLIENT_SECONDS = 10.0
"""The server closes the connection of a client, and ends its thread, after so many seconds without data."""

_CLOSING_SECONDS = 0.1
"""Seconds between two checks of the listening thread whether the server is closed."""

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Response:
    """The response to a request."""

    body: bytes
    content_type: str = _TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[str], Response]
"""Returns the response to a GET request, from its `Accept` header."""


class Server:
    """A server in its own thread, until it is closed."""

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        handler = type("Handler", (_Handler,), {"routes": routes})
        self._http = (_HTTP6 if ":" in host else _HTTP)((host, port), handler)
        self.port: int = self._http.server_address[1]
        """The port on which it listens."""
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_CLOSING_SECONDS,), name="serve", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops listening and frees the port."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()


def serve(progress: Progress, port: int, host: str = "0.0.0.0", *, stale_after: float = 600.0) -> Server:
    """Serves the progress of a run.

    - `/progress`: the `Snapshot` in JSON.
    - `/metrics`: the same for Prometheus, in its text format or in OpenMetrics, by the `Accept` header.
    - `/healthz`: 200, or 503 and the reason if the run reported nothing for `stale_after` seconds.

    Args:
        progress: the progress of the run.
        port: the port to listen on; 0 for a free port, see `Server.port`.
        host: the address to listen on; `::` for IPv6.
        stale_after: seconds, longer than the longest unit of work (loading the model, writing a checkpoint).

    Raises:
        OSError: the port is in use.
    """
    registry = registry_of(progress)

    def answer_progress(_: str) -> Response:
        return Response(progress.snapshot().model_dump_json().encode(), "application/json")

    def answer_metrics(accept: str) -> Response:
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # prometheus_client 0.26 raises it for a version that isn't a number
            encode, content_type = choose_encoder("")
        return Response(encode(registry), content_type)

    def answer_health(_: str) -> Response:
        return health(progress.idle_seconds(), stale_after)

    return Server(host, port, {"/progress": answer_progress, "/metrics": answer_metrics, "/healthz": answer_health})


def health(idle_seconds: float, stale_after: float) -> Response:
    """The response of `/healthz`."""
    if idle_seconds <= stale_after:
        return Response(f"ok: the run reported {idle_seconds:.0f} s ago\n".encode())
    text = f"the run has reported nothing for {idle_seconds:.0f} s; the limit is {stale_after:.0f} s\n"
    return Response(text.encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)


class _HTTP(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # HTTPServer's method also looks up the name of the host, which blocks if the name server is slow.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that closes the connection is no error of the server.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _HTTP6(_HTTP):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    routes: Mapping[str, Route]
    protocol_version = "HTTP/1.1"
    server_version = "dreambooth-trainer"
    sys_version = ""
    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        route = self.routes.get(urlsplit(self.path).path)
        if route is None:
            known = ", ".join(self.routes)
            self._send(Response(f"not found; there are {known}\n".encode(), status=HTTPStatus.NOT_FOUND))
        else:
            self._send(route(self.headers.get("Accept", "")))

    do_HEAD = do_GET

    def _refuse(self) -> None:
        # The server does not read the body of the request, so the connection can't be used again.
        headers = {"Allow": "GET, HEAD", "Connection": "close"}
        self._send(Response(b"only GET and HEAD\n", status=HTTPStatus.METHOD_NOT_ALLOWED, headers=headers))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, *_: object) -> None:
        """Logs nothing: the console shows the run."""
