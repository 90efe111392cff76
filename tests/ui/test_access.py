"""Who is let in to the page, by requests as other programs and pages can send them."""

import os
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dreambooth_ui.access import Door
from dreambooth_ui.application import application

DOOR = Door(7000, "secret")
HOME = "http://127.0.0.1:7000"
FOREIGN = "http://other.example:7000"
PATHS = (
    "/",
    "/config",
    "/gradio_api/info",
    "/gradio_api/heartbeat/session",
    "/gradio_api/file=/etc/hostname",
    "/gradio_api/queue/data?session_hash=session",
    "/theme.css",
    "/static/img/logo.svg",
)
"""Of the page, of Gradio's API, of files, of events and of assets."""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A page with a button that a visitor without the token must not press."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    with gr.Blocks(analytics_enabled=False) as blocks:
        button, pressed = gr.Button(), gr.Textbox()
        button.click(lambda: "pressed", None, pressed, api_name="press")
    with TestClient(application(blocks, DOOR), base_url=HOME, follow_redirects=False) as client:
        yield client


def opened(page: TestClient) -> TestClient:
    """The page after its address was opened."""
    answer = page.get(f"/?token={DOOR.token}")
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    return page


@pytest.mark.parametrize("path", PATHS)
def test_nothing_answers_without_the_token(page: TestClient, path: str) -> None:
    assert page.get(path).status_code == 403
    assert page.get(path, cookies={DOOR.cookie: "wrong"}).status_code == 403


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/run/press", "/login"])
def test_nothing_can_be_sent_without_the_token(page: TestClient, path: str) -> None:
    assert page.post(path, files={"files": b"content"}).status_code == 403
    assert page.post(path, json={"data": []}).status_code == 403


def test_a_websocket_is_refused_without_the_token(page: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), page.websocket_connect("/gradio_api/queue/join"):
        pass


def test_the_address_opens_the_page_with_a_cookie_that_no_script_and_no_other_page_gets(page: TestClient) -> None:
    cookie = page.get(f"/?token={DOOR.token}").headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    answer = page.get("/")
    assert answer.status_code == 200 and "window.gradio_config" in answer.text
    assert DOOR.token not in answer.text


def test_the_page_works_after_its_address_was_opened(page: TestClient) -> None:
    answer = opened(page).post("/gradio_api/run/press", json={"data": []}, headers={"Origin": HOME})
    assert answer.json()["data"] == ["pressed"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "other.example:7000"},
        {"Host": "127.0.0.1:7001"},
        {"Origin": FOREIGN},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_other_pages_are_refused_with_the_cookie_too(page: TestClient, headers: dict[str, str]) -> None:
    opened(page)
    assert page.get("/config").status_code == 200
    assert page.get("/config", headers=headers).status_code == 403
    assert page.post("/gradio_api/run/press", json={"data": []}, headers=headers).status_code == 403


def test_a_wrong_token_opens_nothing(page: TestClient) -> None:
    answer = page.get("/?token=guess")
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "file", [__file__, "/etc/hostname", "/proc/self/environ", "../../etc/hostname", "pyproject.toml"]
)
def test_files_of_the_machine_are_not_served(page: TestClient, file: str) -> None:
    assert opened(page).get(f"/gradio_api/file={file}").status_code in (403, 404)


def test_copies_of_what_is_shown_are_served(page: TestClient) -> None:
    shown = Path(os.environ["GRADIO_TEMP_DIR"]) / "picture.txt"
    shown.parent.mkdir(exist_ok=True)
    shown.write_text("shown")
    assert opened(page).get(f"/gradio_api/file={shown}").text == "shown"


@pytest.mark.parametrize(
    "path", ["file=https://other.example/x", "file/http://other.example/x", "proxy=https://x.hf.space/x"]
)
def test_the_server_fetches_nothing_from_other_hosts(page: TestClient, path: str) -> None:
    answer = opened(page).get(f"/gradio_api/{path}")
    assert answer.status_code == 403 and "other hosts" in answer.text


def test_the_browser_may_load_from_the_page_alone(page: TestClient) -> None:
    policy = opened(page).get("/").headers["content-security-policy"]
    sources = [source for directive in policy.split(";") for source in directive.split()[1:]]
    assert set(sources) <= {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}


def test_the_page_sends_no_telemetry(page: TestClient) -> None:
    config = opened(page).get("/config").json()
    assert config["analytics_enabled"] is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_each_page_has_a_token_of_its_own_that_is_too_long_to_guess() -> None:
    one, other = Door.at(7000), Door.at(7000)
    assert one.token != other.token and len(one.token) >= 32
    assert one.address.startswith(f"{HOME}/?token=")
