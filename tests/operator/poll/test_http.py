import asyncio

import pytest

from dreambooth_api.progress import PHASES
from dreambooth_operator.poll.http import HEAD_BYTES, body_of, get
from dreambooth_operator.poll.snapshot_validation import BODY_BYTES, InvalidProgress, snapshot_from
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.monitoring.server import serve

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200\r\n\r\n{}",
        OK + b"content-LENGTH:2\r\n\r\n{}",
    ],
)
def test_a_plain_response_has_a_body(answer: bytes) -> None:
    assert body_of(answer) == b"{}"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "not valid HTTP"),
        (b"SSH-2.0\r\n\r\n", "not valid HTTP"),
        (OK + b"X: 1", "not valid HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n{}", "not valid HTTP"),
        (b"HTTP/1.1 200OK\r\n\r\n{}", "not valid HTTP"),
        (b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n\r\n{}", "not valid HTTP"),
        (OK + b"X: " + b"x" * HEAD_BYTES + b"\r\n\r\n{}", "not valid HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", "302"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\n{}", "100"),
        (OK + b"Content-Encoding: gzip\r\n\r\n{}", "compressed"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "chunked"),
        (OK + b"Content-Length: 3\r\n\r\n{}", "Content-Length"),
        (OK + b"Content-Length: -2\r\n\r\n{}", "Content-Length"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Content-Length"),
        (OK + b"\r\n" + b" " * (BODY_BYTES + 1), "longer than"),
    ],
)
def test_other_responses_are_rejected(answer: bytes, why: str) -> None:
    with pytest.raises(InvalidProgress, match=why):
        body_of(answer)


def test_the_number_of_bytes_is_limited() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
                await writer.drain()
                sent += 25_000
        except ConnectionError:
            writer.close()

    async def test() -> None:
        server = await asyncio.start_server(flood, "127.0.0.1", 0)
        with pytest.raises(InvalidProgress, match="longer than"):
            await get("127.0.0.1", server.sockets[0].getsockname()[1], "/progress")
        server.close()

    asyncio.run(test())
    # The rest remained in the buffers of the sockets.
    assert sent < 64 * 2**20


def test_the_response_of_the_trainer_is_valid() -> None:
    with serve(Progress(), 0, "127.0.0.1") as server:
        body = asyncio.run(get("127.0.0.1", server.port, "/progress"))
    assert snapshot_from(body, PHASES).phase is None


def test_a_closed_connection_is_an_error() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        with pytest.raises(OSError):
            await get("127.0.0.1", server.sockets[0].getsockname()[1], "/progress")
        server.close()

    asyncio.run(test())
