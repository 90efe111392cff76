"""Streams from pods: their logs, and the input and output of processes that are started in them.

The WebSocket protocol of Kubernetes (`v4.channel.k8s.io`) puts the number of a channel before each message:
https://pkg.go.dev/k8s.io/apimachinery/pkg/util/remotecommand
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client

from dreambooth_client.errors import ClusterFailure

PROTOCOL = "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, ENDED = range(4)
MESSAGE_BYTES = 2**16
"""Longest message that is sent."""
HEARTBEAT_SECONDS = 30.0
"""Time between pings, which keep proxies from closing a connection that is silent, and notice one that is dead."""
CONNECT_SECONDS = 30.0


class Process:
    """A process in a container; its output is read as a stream of bytes."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._output = bytearray()
        self._errors = bytearray()
        self._ended: str | None = None
        """Why it ended: empty after success."""

    async def send(self, data: bytes) -> None:
        """Writes to its stdin."""
        view = memoryview(data)
        for start in range(0, len(view), MESSAGE_BYTES):
            await self._socket.send_bytes(bytes([STDIN]) + view[start : start + MESSAGE_BYTES])

    async def line(self) -> bytes:
        """Reads a line of its stdout, without its end.

        Raises:
            ClusterFailure: there is none.
        """
        while (end := self._output.find(b"\n")) < 0:
            await self._receive()
        line = bytes(self._output[:end])
        del self._output[: end + 1]
        return line

    async def read(self, most: int) -> bytes:
        """Reads the next bytes of its stdout, at least one and at most this number.

        Raises:
            ClusterFailure: there are none.
        """
        while not self._output:
            await self._receive()
        data = bytes(self._output[:most])
        del self._output[:most]
        return data

    async def _receive(self) -> None:
        """Takes the next message.

        Raises:
            ClusterFailure: the process has ended, or the connection.
        """
        if self._ended is not None:
            said = self._errors.decode(errors="replace").strip()
            raise ClusterFailure(f"the process in the pod ended: {self._ended or 'early'}. {said}")
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise ClusterFailure(f"the connection to the pod broke off ({message.type.name.lower()}); try again")
        channel, data = message.data[0], message.data[1:]
        if channel == STDOUT:
            self._output += data
        elif channel == STDERR:
            self._errors += data
        elif channel == ENDED:
            status = json.loads(data)
            self._ended = "" if status.get("status") == "Success" else str(status.get("message", "it failed"))


class Streams:
    """The client for streams; close it after use."""

    def __init__(self, configuration: client.Configuration) -> None:
        self._api = client.ApiClient(configuration)

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()

    @asynccontextmanager
    async def process(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> AsyncIterator[Process]:
        """Starts a process in a container.

        Args:
            namespace: namespace of the pod.
            pod: its name.
            container: name of the container.
            command: the program and its arguments.

        Raises:
            ClusterFailure: the API server refuses, or the connection breaks off.
        """
        query = [("container", container), *((name, "true") for name in ("stdin", "stdout", "stderr"))]
        query += [("command", word) for word in command]
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        url, options = await self._prepared(path, query)
        try:
            async with self._session().ws_connect(
                url.replace("http", "ws", 1),
                protocols=[PROTOCOL],
                heartbeat=HEARTBEAT_SECONDS,
                max_msg_size=0,
                **options,
            ) as socket:
                yield Process(socket)
        except aiohttp.WSServerHandshakeError as error:
            reason = "the permission `create` for `pods/exec` is missing" if error.status == 403 else error.message
            raise ClusterFailure(f"no process can be started in pod {pod}: {reason} ({error.status}).") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterFailure(f"the connection to pod {pod} broke off: {error}; try again") from error

    async def log(
        self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None
    ) -> AsyncIterator[bytes]:
        """The log of a container, in pieces as they come.

        Args:
            namespace: namespace of the pod.
            pod: its name.
            container: name of the container.
            follow: whether to wait for more until the container ends.
            tail: number of the last lines; None: all.

        Raises:
            ClusterFailure: there is no log, or the connection breaks off.
        """
        query = [("container", container), ("follow", str(follow).lower())]
        query += [("tailLines", str(tail))] if tail is not None else []
        url, options = await self._prepared(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
        endless = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session().get(url, timeout=endless, **options) as answer:
                if answer.status != 200:
                    message = (await answer.json()).get("message", answer.reason)
                    raise ClusterFailure(f"no log of pod {pod}: {message}")
                async for piece in answer.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterFailure(f"the connection to pod {pod} broke off: {error}; try again") from error

    def _session(self) -> aiohttp.ClientSession:
        rest = self._api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()
        session: aiohttp.ClientSession = rest.pool_manager
        return session

    async def _prepared(self, path: str, query: Sequence[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
        """The address of a request, and the options by which it goes through the proxy and shows the credentials."""
        # The client of Kubernetes repeats a query's name for a list only in some places.
        _, url, headers, *_ = await self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
        configuration = self._api.configuration
        options: dict[str, Any] = {"headers": headers, "proxy": configuration.proxy}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        return f"{url}?{urlencode(query)}", options
