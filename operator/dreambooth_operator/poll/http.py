"""Minimal HTTP client for untrusted servers, for `poller.py`. It reads a limited number of bytes, headers included.

HTTP libraries support interim responses, chunks, compression and persistent connections, and limit only the body. With HTTP/1.0,
the response is everything until the connection is closed.
"""

import asyncio
import re

from dreambooth_operator.poll.snapshot_validation import BODY_BYTES, InvalidProgress

HEAD_BYTES = 8 * 1024
"""Longest status line and headers; those of a trainer have about 200 bytes."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\Z")


async def get(host: str, port: int, path: str) -> bytes:
    """Sends a GET request and returns the body of the response. The caller sets the timeout.

    Args:
        host: IP address.
        port: Port.
        path: Path of the request.

    Raises:
        InvalidProgress: The response is invalid or too long.
        OSError: There is no response.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {named}\r\nAccept: application/json\r\n\r\n".encode())
        response = bytearray()
        while chunk := await reader.read(HEAD_BYTES + BODY_BYTES):
            response += chunk
            if len(response) > HEAD_BYTES + BODY_BYTES:
                raise InvalidProgress(f"it is longer than {BODY_BYTES} bytes.")
    finally:
        writer.transport.abort()
    if not response:
        raise ConnectionError("the connection was closed without a response")
    return body_of(bytes(response))


def body_of(response: bytes) -> bytes:
    """The body of a complete response.

    Raises:
        InvalidProgress: The response is not plain HTTP with status 200, or it is too long.
    """
    head, separator, body = response.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    found = _STATUS.match(status)
    if not separator or found is None or len(head) > HEAD_BYTES:
        raise InvalidProgress("it is not valid HTTP.")
    if found[1] != b"200":
        raise InvalidProgress(f"its HTTP status is {found[1].decode()}.")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    if any(name in (b"content-encoding", b"transfer-encoding") for name, _ in headers):
        raise InvalidProgress("it is compressed or chunked.")
    if any(name == b"content-length" and value != str(len(body)).encode() for name, value in headers):
        raise InvalidProgress("its length differs from its Content-Length.")
    if len(body) > BODY_BYTES:
        raise InvalidProgress(f"it is longer than {BODY_BYTES} bytes.")
    return body
