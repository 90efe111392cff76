"""One question to a stranger by HTTP, for `poller.py`: a modest number of bytes is read, whatever they are, and no more.

No client library is asked: those follow what a server wants (interim answers, chunks, compression, connections kept open) and
count the body alone. By HTTP/1.0 an answer is what comes until the connection ends.
"""

import asyncio
import re

from dreambooth_operator.poll.trust import BODY_BYTES, NoSnapshot

HEAD_BYTES = 8 * 1024
"""Longest status line and headers together; a trainer sends some two hundred bytes."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\Z")


async def ask(host: str, port: int, path: str) -> bytes:
    """The body of the answer to a GET. The caller bounds the time.

    Args:
        host: A numeric address.
        port: Where it listens.
        path: What is asked for.

    Raises:
        NoSnapshot: It is no plain answer of a modest size.
        OSError: There is no answer.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {named}\r\nAccept: application/json\r\n\r\n".encode())
        answer = bytearray()
        while chunk := await reader.read(HEAD_BYTES + BODY_BYTES):
            answer += chunk
            if len(answer) > HEAD_BYTES + BODY_BYTES:
                raise NoSnapshot(f"it is longer than {BODY_BYTES} bytes.")
    finally:
        writer.transport.abort()
    if not answer:
        raise ConnectionError("the connection ended without an answer")
    return body_of(bytes(answer))


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer.

    Raises:
        NoSnapshot: It is not plain HTTP with status 200, or too long.
    """
    head, separator, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    found = _STATUS.match(status)
    if not separator or found is None or len(head) > HEAD_BYTES:
        raise NoSnapshot("it is no sound HTTP.")
    if found[1] != b"200":
        raise NoSnapshot(f"its HTTP status is {found[1].decode()}.")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    if any(name in (b"content-encoding", b"transfer-encoding") for name, _ in headers):
        raise NoSnapshot("it is compressed or in pieces.")
    if any(name == b"content-length" and value != str(len(body)).encode() for name, value in headers):
        raise NoSnapshot("it is not as long as it says.")
    if len(body) > BODY_BYTES:
        raise NoSnapshot(f"it is longer than {BODY_BYTES} bytes.")
    return body
