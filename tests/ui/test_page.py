"""The page in a real browser, on a machine without a cluster: photos in, pictures out, with the embedded model.

The picture of the README is made here: `REFRESH=1 pytest tests/ui/test_page.py`, which trains for longer.
"""

import io
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from dreambooth_client import DreamBooth
from tests.patience import PATIENCE
from tests.trainer.data.scenes import scene
from tests.ui.browser import chromium, served

pytestmark = pytest.mark.slow
expect.set_options(timeout=PATIENCE * 1000)

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "dog" / "photos"
SHOT = ROOT / "examples" / "ui.png"
REFRESH = bool(os.environ.get("REFRESH"))
SHORT = {
    "prior": {"images": 4},
    "training": {"steps": 4, "batchSize": 1},
    "samples": {"prompts": ["a {identifier} {class}"], "perPrompt": 2, "steps": 4, "everySteps": 2},
    "evaluation": {"contexts": ["on the beach", "at night"], "otherClasses": ["cat", "car"], "perPrompt": 2},
}
"""Settings for a training of seconds."""


class Opened(NamedTuple):
    """The page in a browser."""

    page: Page
    folder: Path
    """The home directory of its user."""
    hosts: set[str]
    """All hosts from which the browser has loaded something."""
    asked: Path
    """The file with the other hosts that the server has connected to."""
    refused: list[str]
    """What the content security policy has kept from the browser."""

    def tab(self, name: str) -> None:
        """Opens a tab."""
        self.page.get_by_role("tab", name=name).click()

    def field(self, name: str) -> Locator:
        """The input of a field."""
        return self.page.locator(f"#{name} input, #{name} textarea").first

    def write(self, name: str, value: str) -> None:
        """Writes into a field that also has a list."""
        self.field(name).fill(value)
        self.field(name).press("Enter")

    def choose(self, name: str, value: str) -> None:
        """Chooses from the list of a field, when it is offered there."""
        offered = self.page.get_by_role("option").locator("visible=true")
        # The list of another field closes slowly.
        expect(offered).to_have_count(0)
        self.field(name).click()
        self.page.get_by_role("option", name=value, exact=True).locator("visible=true").click()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The page, with a job that was begun in another way."""
    folder = tmp_path_factory.mktemp("home")
    asked = folder / "hosts"
    asked.touch()
    with DreamBooth.local(folder / "runs", folder / "cache" / "dreambooth") as dreambooth:
        settings = {} if REFRESH else SHORT
        job = dreambooth.submit(manifest=ROOT / "examples" / "dog" / "dreamboothjob.yaml", settings=settings)
        job.wait(timeout=None if REFRESH else PATIENCE)
    with chromium() as page, served(folder, asked) as address:
        hosts: set[str] = set()
        refused: list[str] = []

        def said(message: ConsoleMessage) -> None:
            if "Content Security Policy" in message.text:
                refused.append(message.text)

        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("console", said)
        hosts.add(urlsplit(address).netloc)
        page.goto(address)
        expect(page.locator("#findings")).to_contain_text("Add three to five photos")
        yield Opened(page, folder, hosts, asked, refused)


def test_the_address_in_the_browser_has_no_token_any_more(opened: Opened) -> None:
    assert "token" not in opened.page.url


def test_without_a_cluster_the_page_is_about_this_machine(opened: Opened) -> None:
    expect(opened.page.locator("#where")).to_contain_text("Jobs of this machine, in ~/runs")


def test_a_job_that_was_begun_elsewhere_is_shown(opened: Opened) -> None:
    page = opened.page
    opened.tab("Jobs")
    page.get_by_test_id("cell-0-0").click()
    expect(page.locator("#heading")).to_contain_text("Complete")
    expect(page.locator("#details")).to_contain_text("embedded://emoji")
    expect(page.locator("#details")).to_contain_text("SUBJ share")
    expect(page.locator("#losses canvas, #losses svg").first).to_be_visible()
    expect(page.locator("#pictures img").first).to_be_visible()
    if REFRESH:
        picture_of(page)


def test_its_report_is_shown_in_a_frame_without_scripts_and_can_be_downloaded(opened: Opened) -> None:
    page = opened.page
    page.locator("#show-report").click()
    frame = page.locator("#report iframe")
    assert frame.get_attribute("sandbox") == ""
    expect(page.frame_locator("#report iframe").get_by_role("heading", name="dog").first).to_be_visible()
    with page.expect_download() as download:
        page.locator("#download-report").click()
    assert download.value.path().read_bytes() == (opened.folder / "runs/dog/report.html").read_bytes()


def test_photos_get_previews_and_warnings(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    opened.tab("New job")
    scene(1, (700, 300)).save(tmp_path / "wide.png")
    shutil.copyfile(tmp_path / "wide.png", tmp_path / "twin.png")
    upload(page, tmp_path / "wide.png", tmp_path / "twin.png")
    opened.write("class", "dog")
    opened.write("model", "embedded://emoji")
    expect(page.locator("#findings")).to_contain_text("shows the same picture as")
    expect(page.locator("#findings")).to_contain_text("its middle square, which is used, is only 43% of it")
    expect(page.locator("#previews img")).to_have_count(2)
    assert dimmed(page.locator("#previews img").first) == [True, False, True]


def test_what_a_user_writes_is_shown_as_text(opened: Opened) -> None:
    page = opened.page
    markup = "<img src=x onerror=window.hacked=1>"
    opened.write("model", markup)
    expect(page.locator("#findings")).to_contain_text(markup)
    assert page.evaluate("window.hacked") is None
    opened.write("model", "embedded://emoji")
    expect(page.locator("#findings")).not_to_contain_text(markup)


def test_photos_become_pictures(opened: Opened) -> None:
    page = opened.page
    upload(page, *sorted(PHOTOS.iterdir()))
    opened.field("name").fill("rex")
    opened.field("steps").fill("12")
    page.get_by_role("button", name="More settings").click()
    for name, value in {"class-images": "4", "every-steps": "4"}.items():
        opened.field(name).fill(value)
    opened.field("identifier").fill("sks")
    opened.field("sample-prompts").fill("a {identifier} {class}")
    page.locator("#evaluate input").uncheck()
    expect(page.locator("#findings")).to_contain_text("Photos and settings are fine")

    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#plan")).to_contain_text(re.compile(r"needs the most memory: \d+\.\d\d GB"))
    expect(page.locator("#plan tr")).to_have_count(6)

    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#heading h2")).to_have_text("rex")
    expect(page.locator("#heading")).to_contain_text("Running")
    page.locator("#suspend").click()
    expect(page.locator("#heading")).to_contain_text("Suspended")
    page.locator("#resume").click()
    expect(page.locator("#heading")).to_contain_text("Complete")
    expect(page.locator("#heading")).to_contain_text("12/12 steps")
    expect(page.locator("#pictures img")).to_have_count(7)
    expect(page.locator("#pictures")).to_contain_text("a sks dog, seed 3")
    expect(page.locator("#pictures")).to_contain_text("step 8")


def test_pictures_of_a_prompt_are_generated_and_downloaded(opened: Opened) -> None:
    page = opened.page
    opened.tab("Generate")
    opened.choose("scene-job", "rex")
    opened.field("prompts").fill("a {identifier} {class} <b>at night</b>")
    opened.field("count").fill("2")
    opened.field("seed").fill("7")
    page.locator("#generate").click()
    expect(page.locator("#scene-state")).to_contain_text("Complete")
    expect(page.locator("#generated img")).to_have_count(2)
    expect(page.locator("#generated")).to_contain_text("a sks dog <b>at night</b>, seed 8")
    with page.expect_download() as download:
        page.locator("#download-all").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        pictures = [name for name in archive.namelist() if name.endswith(".png")]
        assert len(pictures) == 2 and len(archive.namelist()) == 4
        assert Image.open(io.BytesIO(archive.read(pictures[0]))).text["seed"] == "7"


def test_two_jobs_are_compared(opened: Opened) -> None:
    page = opened.page
    opened.tab("Compare")
    opened.choose("one", "dog")
    opened.choose("other", "rex")
    page.locator("#compare").click()
    expect(page.locator("#compared")).to_contain_text("training.method")
    expect(page.locator("#compared")).to_contain_text("SUBJ share")
    for side in ("one", "other"):
        expect(page.locator(f"#pictures-{side} img").first).to_be_visible()
        expect(page.locator(f"#pictures-{side}")).to_contain_text("a sks dog, seed 0")


def test_a_job_is_deleted_after_a_question(opened: Opened) -> None:
    page = opened.page
    opened.tab("Jobs")
    opened.choose("job", "rex")
    page.locator("#delete").click()
    assert (opened.folder / "runs/rex").exists()
    page.locator("#sure").click()
    expect(page.locator("#jobs")).not_to_contain_text("rex")
    assert not (opened.folder / "runs/rex").exists()


def test_everything_came_from_this_machine(opened: Opened) -> None:
    assert len(opened.hosts - {""}) == 1
    assert opened.asked.read_text() == ""
    assert opened.refused == []


def upload(page: Page, *photos: Path) -> None:
    """Puts photos into the form, instead of others."""
    clear = page.locator("#photos").get_by_label("Clear")
    if clear.count():
        clear.click()
    page.set_input_files("#photos input[type=file]", list(photos))


def dimmed(preview: Locator) -> list[bool]:
    """Whether the left, the middle and the right part of a preview are dark."""
    with Image.open(io.BytesIO(preview.page.request.get(preview.get_attribute("src") or "").body())) as image:
        grey, third = image.convert("L"), image.width // 3
    parts = (grey.crop((third * part, 0, third * (part + 1), grey.height)) for part in range(3))
    return [max(part.resize((1, 1), Image.Resampling.BOX).tobytes()) < 80 for part in parts]


def picture_of(page: Page) -> None:
    """Writes the picture of the README."""
    page.evaluate("document.activeElement.blur()")
    shot = Image.open(io.BytesIO(page.screenshot()))
    shot.quantize(128, dither=Image.Dither.NONE).save(SHOT, optimize=True)
