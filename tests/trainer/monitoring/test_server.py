import http.client
import json
import re
import socket
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from dreambooth_api.progress import Snapshot
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.monitoring.server import Server, serve
from tests.patience import PATIENCE


class FakeClock:
    """A clock that a test advances."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def progress(clock: FakeClock) -> Progress:
    progress = Progress(clock=clock)
    progress.update(identifier="sks", device="cpu", total_steps=400)
    return progress


@pytest.fixture
def server(progress: Progress) -> Iterator[Server]:
    with serve(progress, 0, "127.0.0.1", stale_after=60) as server:
        yield server


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    yield connection
    connection.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, str]:
    connection.request(method, path, headers=headers or {})
    response = connection.getresponse()
    return response, response.read().decode()


def test_progress_is_the_snapshot(progress: Progress, connection: http.client.HTTPConnection) -> None:
    with progress.phase("train", total=400, unit="steps", done=100) as phase:
        phase.advance(loss=0.12)
        response, body = ask(connection, "GET", "/progress?pretty")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    assert (json.loads(body)["step"], json.loads(body)["totalSteps"]) == (101, 400)
    assert Snapshot.model_validate_json(body).identifier == "sks"


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("text/plain", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)],
)
def test_metrics_have_the_format_of_prometheus(
    progress: Progress, clock: FakeClock, connection: http.client.HTTPConnection, accept: str, parse: object
) -> None:
    progress.update(class_images=200)
    with progress.phase("prior", done=150) as prior:
        prior.advance(30)
        prior.advance(20, class_images_generated=20)
    with progress.phase("train", total=400, unit="steps") as phase:
        clock.seconds += 4
        phase.advance(8, loss=0.12, prior_loss=0.1, learning_rate=1e-4, grad_norm=0.8, training_images=16)
        response, body = ask(connection, "GET", "/metrics", {"Accept": accept})
    assert response.headers["Content-Type"].startswith(accept.split(";")[0])
    families = list(parse(body))  # type: ignore[operator]
    assert all(family.name.startswith("dreambooth_trainer") and family.documentation for family in families)
    values = {
        (sample.name.removeprefix("dreambooth_trainer_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }
    expected = {
        ("info", "cpu", "sks"): 1,
        ("step",): 8,
        ("planned_steps",): 400,
        ("steps_per_second",): 2,
        ("loss", "subject"): 0.12,
        ("loss", "class"): 0.1,
        ("learning_rate",): 1e-4,
        ("gradient_norm",): 0.8,
        ("step_seconds_count",): 8,
        ("step_seconds_sum",): 4,
        ("step_seconds_bucket", "0.25"): 0,
        ("step_seconds_bucket", "0.5"): 8,
        ("training_images_total",): 16,
        ("prior_cache_images_total", "generated"): 20,
        ("prior_cache_images_total", "hit"): 180,
        ("class_images",): 200,
        ("planned_class_images",): 200,
        ("phase_state", "train", "running"): 1,
        ("phase_state", "train", "pending"): 0,
        ("phase_state", "prior", "done"): 1,
        ("phase_duration_seconds", "train"): 4,
        ("eta_seconds",): 196,
    }
    assert {key: values.get(key) for key in expected} == expected
    assert values["resident_memory_bytes",] > 1_000_000
    assert ("device_memory_peak_bytes",) not in values or values["device_memory_peak_bytes",] >= 0


def test_figures_that_are_unknown_have_no_sample(connection: http.client.HTTPConnection) -> None:
    _, body = ask(connection, "GET", "/metrics")
    families = {family.name: family.samples for family in parse_text(body)}
    assert families["dreambooth_trainer_loss"] == families["dreambooth_trainer_learning_rate"] == []


def test_health_fails_when_a_run_makes_no_progress(
    progress: Progress, clock: FakeClock, connection: http.client.HTTPConnection
) -> None:
    clock.seconds += 60
    response, _ = ask(connection, "GET", "/healthz")
    assert response.status == 200
    clock.seconds += 1
    response, body = ask(connection, "GET", "/healthz")
    assert response.status == 503
    assert "nothing for 61 s" in body and "60 s" in body
    progress.update()
    response, _ = ask(connection, "GET", "/healthz")
    assert response.status == 200


@pytest.mark.parametrize("path", ["/progress", "/metrics", "/healthz"])
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(f"HEAD {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        head, body = b"".join(iter(lambda: client.recv(4096), b"")).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert re.search(rb"Content-Length: [1-9]", head)
    assert body == b""


@pytest.mark.parametrize("accept", ["text/plain; version=abc", "application/openmetrics-text; version=x", ";=,", "*/*"])
def test_an_unknown_accept_header_gets_the_text_format(connection: http.client.HTTPConnection, accept: str) -> None:
    response, body = ask(connection, "GET", "/metrics", {"Accept": accept})
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert list(parse_text(body))


@pytest.mark.parametrize("path", ["/", "/progress/", "/metrics/../progress", "/etc/passwd", "/%2e%2e/"])
def test_anything_else_is_not_found(connection: http.client.HTTPConnection, path: str) -> None:
    response, body = ask(connection, "GET", path)
    assert response.status == 404
    assert body == "not found; there are /progress, /metrics, /healthz\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(connection: http.client.HTTPConnection, method: str) -> None:
    response, _ = ask(connection, method, "/progress")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert response.headers["Connection"] == "close"


def test_a_silent_client_does_not_delay_others(server: Server, connection: http.client.HTTPConnection) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"GET /progress HTTP/1.1\r\n")
        assert ask(connection, "GET", "/progress")[0].status == 200


def test_a_client_that_hangs_up_leaves_no_trace(
    server: Server, connection: http.client.HTTPConnection, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            rude.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" * 50)
    assert ask(connection, "GET", "/progress")[0].status == 200
    assert capfd.readouterr().err == ""


def test_the_port_is_free_after_closing(progress: Progress) -> None:
    with serve(progress, 0, "127.0.0.1") as first, pytest.raises(OSError, match="Address already in use"):
        serve(progress, first.port, "127.0.0.1")
    with serve(progress, first.port, "127.0.0.1") as second:
        assert second.port == first.port


def test_ipv6(progress: Progress) -> None:
    with serve(progress, 0, "::1") as server:
        connection = http.client.HTTPConnection("::1", server.port, timeout=PATIENCE)
        assert ask(connection, "GET", "/progress")[0].status == 200
        connection.close()
