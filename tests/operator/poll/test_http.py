import asyncio

import pytest

from dreambooth_operator.poll.http import HEAD_BYTES, ask, body_of
from dreambooth_operator.poll.trust import BODY_BYTES, NoSnapshot, snapshot_from
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
def test_a_plain_answer_has_a_body(answer: bytes) -> None:
    assert body_of(answer) == b"{}"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "no sound HTTP"),
        (b"SSH-2.0\r\n\r\n", "no sound HTTP"),
        (OK + b"X: 1", "no sound HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n{}", "no sound HTTP"),
        (b"HTTP/1.1 200OK\r\n\r\n{}", "no sound HTTP"),
        (b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n\r\n{}", "no sound HTTP"),
        (OK + b"X: " + b"x" * HEAD_BYTES + b"\r\n\r\n{}", "no sound HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", "302"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\n{}", "100"),
        (OK + b"Content-Encoding: gzip\r\n\r\n{}", "compressed"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "pieces"),
        (OK + b"Content-Length: 3\r\n\r\n{}", "as long as it says"),
        (OK + b"Content-Length: -2\r\n\r\n{}", "as long as it says"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "as long as it says"),
        (OK + b"\r\n" + b" " * (BODY_BYTES + 1), "longer than"),
    ],
)
def test_anything_else_is_refused(answer: bytes, why: str) -> None:
    with pytest.raises(NoSnapshot, match=why):
        body_of(answer)


def test_no_more_is_read_than_is_allowed() -> None:
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
        with pytest.raises(NoSnapshot, match="longer than"):
            await ask("127.0.0.1", server.sockets[0].getsockname()[1], "/progress")
        server.close()

    asyncio.run(asyncio.wait_for(test(), 30))
    # What lay in the sockets' buffers was never read.
    assert sent < 64 * 2**20


def test_the_trainer_itself_is_understood() -> None:
    with serve(Progress(), 0, "127.0.0.1") as server:
        body = asyncio.run(asyncio.wait_for(ask("127.0.0.1", server.port, "/progress"), 30))
    assert snapshot_from(body).phase is None


def test_a_server_that_says_nothing_gave_no_answer() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        with pytest.raises(OSError):
            await ask("127.0.0.1", server.sockets[0].getsockname()[1], "/progress")
        server.close()

    asyncio.run(asyncio.wait_for(test(), 30))
