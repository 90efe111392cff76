import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from dreambooth_trainer.evaluation.choice import Candidate, choose_among
from dreambooth_trainer.evaluation.figures import Figures
from dreambooth_trainer.evaluation.pictures import Comparison
from dreambooth_trainer.report import (
    PER_CELL,
    THUMBNAIL,
    ReportData,
    ReportedSubject,
    picture_uri,
    render,
    write_report,
)

NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
HOSTILE = '<script>alert("x")</script>&'

FIGURES = Figures(
    subj=0.7,
    subj_share=0.81,
    pres_before=0.02,
    pres_after=0.07,
    pres_change=0.05,
    div_subject=0.2,
    div_class_before=0.6,
    div_class_after=0.58,
    div_class_ratio=0.97,
    keep=0.96,
    follow=0.9,
)


CHOICE = choose_among([Candidate(step=step, figures=FIGURES) for step in (15, 30)], 30)


class Page(HTMLParser):
    """The elements of a report, as a browser parses them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def losses(steps: int, prior: float = 0.06) -> list[dict[str, float]]:
    return [{"step": n, "loss": 1 / n, "priorLoss": prior, "learningRate": 1e-4} for n in range(1, steps + 1)]


def comparison(prompt: str, before: list[str], after: list[str]) -> Comparison:
    return Comparison(prompt=prompt, before=before, after=after)


@pytest.fixture
def report(tmp_path: Path) -> ReportData:
    folder, paths = tmp_path, []
    for number, colour in enumerate(("red", "green", "blue")):
        paths.append(folder / f"{number}.png")
        Image.new("RGB", (64, 64), colour).save(paths[-1])
    return ReportData(
        name="my-dog",
        folder=folder,
        subjects=[
            ReportedSubject(
                name="",
                class_="dog",
                identifier="dkv",
                prompt="a dkv dog",
                photos=paths,
                captions={paths[1]: "a dkv dog on <a> sofa"},
                figures=FIGURES,
                nearest={},
            )
        ],
        base_model="embedded://emoji",
        warnings=["a.png is 60x60 & small"],
        samples=[comparison("a dkv dog on the beach", ["0.png", "1.png"], ["1.png", "2.png"])],
        comparisons=[comparison("a cat", ["0.png"], ["1.png"])],
        losses=losses(30),
        choice=CHOICE,
        settings={"subject": {"class": "dog"}, "training": {"steps": 30, "learningRate": 0.0001}},
        versions={"torch": "2.9.1"},
        device="CPU",
        timings={"prior": 61.0, "train": 100.0},
        memory={"prior": (None, 2_345_000_000), "train": (4_000_000_000, 3_500_000_000)},
        exported={"diffusers/model_index.json": "ab" * 32},
    )


def with_subject(report: ReportData, **changed: Any) -> ReportData:
    """The report with other content of its subject."""
    return replace(report, subjects=[replace(report.subjects[0], **changed)])


def test_reports_everything(report: ReportData) -> None:
    page = Page(render(report))
    text = " ".join(page.text.split())
    assert not page.open
    for expected in (
        "my-dog",
        "A dog that embedded://emoji now knows as dkv",
        "a dkv dog on the beach",
        "a cat",
        "a.png is 60x60 & small",
        "a dkv dog on <a> sofa",
        "2:41 on CPU",
        "torch2.9.1",
        "2.35 train4.003.50",
        "diffusers/model_index.json" + "ab" * 32,
        "Loss of the subject",
        "Loss of the class",
        "Learning rate",
    ):
        assert expected in text
    assert len(page.all("img")) == 3 + 4 + 2
    assert len(page.all("svg")) == 3 + 5
    assert "Step 15 of 30" in page.text


def test_settings_are_yaml_that_can_be_used_again(report: ReportData) -> None:
    text = re.search(r"<pre>(.*?)</pre>", render(report), re.DOTALL)
    assert text is not None
    assert yaml.safe_load(Page(text[1]).text) == report.settings


def test_judges_figures_by_their_goals(report: ReportData) -> None:
    text = " ".join(Page(render(report)).text.split())
    for line in (
        "like the photos to each other 0.810 ≥ 0.80 good",
        "0: not at all 0.050 ≤ 0.03 poor",
        "1: as before 0.970 ≥ 0.95 good",
        "1: unchanged 0.960 ≥ 0.95 good",
        "that show the requested scene 0.900 ≥ 0.95 poor",
    ):
        assert line in text


def test_an_undefined_figure_is_neither_good_nor_poor(report: ReportData) -> None:
    figures = FIGURES.model_copy(update={"subj_share": None})
    assert "like the photos to each other \u2013 ≥ 0.80 undefined" in " ".join(
        Page(render(with_subject(report, figures=figures))).text.split()
    )


def test_the_report_is_one_self_contained_file(report: ReportData, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", report)
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    assert set(re.findall(r"(?:https?|file|ftp)://[^\s\"'<>]+", html)) <= NAMESPACES
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        for name in ("src", "href", "xlink:href"):
            assert str(attributes.get(name) or "#").startswith(("data:image/", "#"))
    assert not re.search(r"@import|url\((?!#)", html)
    assert str(tmp_path) not in html


def test_plots_take_the_pages_colour(report: ReportData) -> None:
    html = render(report)
    assert "currentColor" in html
    assert "#010203" not in html
    assert "#000000" not in html


def test_plots_in_one_page_do_not_share_clip_paths(report: ReportData) -> None:
    clips = [attributes["id"] for attributes in Page(render(report)).all("clippath")]
    assert len(clips) == len(set(clips)) == 3 + 5


def test_is_the_same_each_time(report: ReportData) -> None:
    assert render(report) == render(report)


def test_strings_of_users_are_escaped_everywhere(report: ReportData) -> None:
    hostile = replace(
        report,
        name=HOSTILE,
        subjects=[
            replace(
                report.subjects[0],
                name=HOSTILE,
                class_=HOSTILE,
                identifier=HOSTILE,
                prompt=HOSTILE,
                nearest={HOSTILE: 0.5},
            )
        ],
        base_model=HOSTILE,
        samples=[report.samples[0].model_copy(update={"prompt": HOSTILE})],
        comparisons=[report.comparisons[0].model_copy(update={"prompt": HOSTILE})],
        settings={HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        device=HOSTILE,
        timings={HOSTILE: 1.0},
        memory={HOSTILE: (1, 2)},
        exported={HOSTILE: HOSTILE},
    )
    page = Page(render(hostile))
    assert not page.all("script")
    assert page.text.count(HOSTILE) >= 14
    assert not page.open


def test_bidirectional_control_characters_are_escaped(report: ReportData) -> None:
    text = Page(render(with_subject(replace(report, warnings=["one\u2066"]), prompt="a \u202egod\x1b[2J"))).text
    assert r"a \u202egod\x1b[2J" in text and r"one\u2066" in text
    assert not set("\u202e\u2066\x1b") & set(text)


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"samples": []}, ["New scenes"]),
        ({"choice": None}, ["Chosen step"]),
        ({"losses": losses(30, prior=0.0)}, ["Loss of the class"]),
        ({"losses": []}, ["Loss of the subject"]),
    ],
)
def test_omits_what_the_run_did_not_do(report: ReportData, changed: dict[str, Any], missing: list[str]) -> None:
    text = Page(render(replace(report, **changed))).text
    assert all(title in Page(render(report)).text and title not in text for title in missing)


def test_omits_figures_without_an_evaluation(report: ReportData) -> None:
    text = Page(render(with_subject(replace(report, comparisons=[]), figures=None))).text
    assert all(title in Page(render(report)).text and title not in text for title in ("Figures", "Other prompts"))


def test_each_of_several_subjects_has_its_photos_and_figures(report: ReportData) -> None:
    (dog,) = report.subjects
    rex = replace(dog, name="rex", photos=dog.photos[:1], nearest={"rex": 0.75, "tom": 0.25})
    weak = FIGURES.model_copy(update={"subj_share": 0.123})
    tom = replace(dog, name="tom", identifier="xyz", class_="cat", figures=weak, nearest={"rex": 0.0, "tom": 1.0})
    page = Page(render(replace(report, subjects=[rex, tom])))
    text = " ".join(page.text.split())
    assert "now knows as xyz, named tom" in text
    assert "4 photos" in text
    assert re.search("Pictures of *rex *tom *rex *0.75 *0.25 *tom *0.00 *1.00", text)
    assert "0.123 ≥ 0.80 poor" in text
    assert [attributes["alt"] for attributes in page.all("img")][:2] == [
        "photo 1 of the dog rex",
        "photo 1 of the cat tom",
    ]
    assert not page.open
    assert "Confusion" not in Page(render(report)).text


def test_huge_runs_stay_small(report: ReportData, tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    Image.effect_noise((512, 512), 80).convert("RGB").save(picture)
    rows = [
        comparison(f"a dkv dog in scene {number}", [str(picture)] * 64, [str(picture)] * 64) for number in range(50)
    ]
    html = render(replace(report, samples=rows[:2], losses=losses(20_000)))
    assert len(Page(html).all("img")) == 3 + 2 * 2 * PER_CELL + 2
    assert "and 56 more in the folder of the run" in html
    plots_only = render(with_subject(replace(report, samples=[], comparisons=[], losses=losses(20_000)), photos=[]))
    assert len(plots_only) < 400_000
    assert len(picture_uri(picture)) * 50 * 2 * PER_CELL < 100_000_000


def test_a_single_step_is_plotted(report: ReportData) -> None:
    assert len(Page(render(replace(report, losses=losses(1)))).all("svg")) == 3 + 5


def picture_of(uri: str) -> Image.Image:
    assert uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_small_pictures_are_inlined_without_loss_and_large_ones_scaled(tmp_path: Path) -> None:
    small = Image.effect_noise((64, 64), 80).convert("RGB")
    small.save(tmp_path / "small.png")
    assert picture_of(picture_uri(tmp_path / "small.png")).convert("RGB").tobytes() == small.tobytes()
    Image.new("RGBA", (1024, 512), "red").save(tmp_path / "large.png")
    assert picture_of(picture_uri(tmp_path / "large.png")).size == (THUMBNAIL, THUMBNAIL // 2)
