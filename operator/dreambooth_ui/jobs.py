"""The tab "Jobs": the list, and the page of the chosen job, both live."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd

from dreambooth_client import AsyncDreamBooth, AsyncJob
from dreambooth_trainer.training.loss_curve import Line, read_losses
from dreambooth_ui.actions import Actions, possible
from dreambooth_ui.handling import FAILURES, gallery, servable, told
from dreambooth_ui.shown import job as shown
from dreambooth_ui.shown.html import document, paragraph
from dreambooth_ui.shown.samples import captioned, result_in, samples_of

SECONDS = 2.0
"""Between two looks at the jobs."""
FILES = "samples", "report"
"""The parts of a job that its page shows."""
COLOURS = {"photos": "#d9622b", "class images": "#2b7fd9"}
"""Of the loss curves, as in the report."""


class Looked(NamedTuple):
    """The files that the page of a job shows, so that nothing is drawn again that has not changed: a picture stays open."""

    name: str = ""
    losses: int = 0
    pictures: Sequence[tuple[Path, str]] = ()


class Jobs:
    """The tab, in the Blocks that are being built."""

    def __init__(self, dreambooth: AsyncDreamBooth) -> None:
        self._dreambooth, self._at_hand = dreambooth, dreambooth.backend.has_files_at_hand
        self._list = gr.Dataframe(
            headers=shown.HEADER, datatype="str", interactive=False, label="Jobs", elem_id="jobs", max_height=240
        )
        self._trouble = gr.HTML()
        self.chosen = gr.Dropdown([], label="Job", value=None, elem_id="job")
        rows, looked, timer = gr.State([]), gr.State(Looked()), gr.Timer(SECONDS)
        with gr.Row():
            with gr.Column():
                heading = gr.HTML(elem_id="heading")
                actions = Actions(dreambooth, self.chosen)
                details = gr.HTML(elem_id="details")
            with gr.Column():
                curve = gr.LinePlot(
                    x="step", y="loss", color="curve", color_map=COLOURS, title="Loss", height=240, elem_id="losses"
                )
                pictures = gr.Gallery(label="Pictures", columns=4, height=400, interactive=False, elem_id="pictures")
        with gr.Row():
            fetch = gr.Button("Copy pictures and losses from the cluster", visible=not self._at_hand)
            report = gr.Button("Show the report", elem_id="show-report")
            download = gr.DownloadButton("Download the report", interactive=False, elem_id="download-report")
        frame = gr.HTML(elem_id="report")
        files = [curve, pictures, looked]
        self._list.select(_name_of_row, None, self.chosen)
        timer.tick(self.rows, rows, [rows, self._list, self.chosen, self._trouble], show_progress="hidden")
        for event in (timer.tick, self.chosen.change):
            event(self._page, self.chosen, [heading, details, *actions.buttons], show_progress="hidden")
            event(self._files, [self.chosen, looked], files, show_progress="hidden")
        self.chosen.change(lambda: ("", gr.update(interactive=False)), None, [frame, download])
        fetch.click(self._fetched, [self.chosen, looked], files)
        report.click(self._report, self.chosen, [frame, download])

    async def rows(self, before: Sequence[Sequence[str]]) -> tuple[Any, ...]:
        """The rows, to be remembered and to be shown; the names to choose from; and what is wrong.

        Args:
            before: the rows that are shown.
        """
        try:
            jobs = await self._dreambooth.jobs()
        except FAILURES as failure:
            # Again with each look, until it is over.
            return gr.skip(), gr.skip(), gr.skip(), paragraph(failure, "message")
        rows = [shown.row(job.seen, datetime.now(UTC)) for job in jobs]
        if rows == before:
            return gr.skip(), gr.skip(), gr.skip(), ""
        names = [job.name for job in jobs]
        choices = gr.skip() if names == [row[0] for row in before] else gr.update(choices=names)
        return rows, rows, choices, ""

    async def _page(self, name: str | None) -> tuple[Any, ...]:
        if not name:
            return "", "", *possible(())
        try:
            job = await self._dreambooth.job(name)
            figures = await self._figures(job)
        except FAILURES as failure:
            return paragraph(failure, "message"), "", *possible(())
        details = shown.settings(job.seen) + shown.figures(figures)
        return shown.heading(job.seen), details, *possible(shown.POSSIBLE.get(job.phase, shown.USUALLY_POSSIBLE))

    async def _figures(self, job: AsyncJob) -> Mapping[str, float | None]:
        if not self._at_hand:
            return job.status.result.figures if job.status.result else {}
        return shown.figures_of(result_in(await job.fetch(only=FILES)))

    async def _files(self, name: str | None, looked: Looked) -> tuple[Any, ...]:
        """Losses and pictures of the chosen job; of a cluster, nothing is copied before the user asks for it."""
        if not self._at_hand or not name:
            return _drawn(Looked(name or ""), None, looked) if name != looked.name else (gr.skip(),) * 3
        try:
            job = await self._dreambooth.job(name)
            return _drawn(*_seen(name, await job.fetch(only=FILES)), looked)
        except FAILURES:
            # The other half of the page says what is wrong.
            return (gr.skip(),) * 3

    async def _fetched(self, name: str | None, looked: Looked) -> tuple[Any, ...]:
        if not name:
            return (gr.skip(),) * 3
        with told():
            job = await self._dreambooth.job(name)
            return _drawn(*_seen(name, await job.fetch(only=FILES)), looked)

    async def _report(self, name: str | None) -> tuple[str, Any]:
        if not name:
            return "", gr.update(interactive=False)
        with told():
            job = await self._dreambooth.job(name)
            report = await job.report()
        return document(report.read_text("utf-8")), gr.update(value=servable(report), interactive=True)


def _name_of_row(event: gr.SelectData) -> str:
    return str(event.row_value[0])


def _seen(name: str, folder: Path) -> tuple[Looked, Sequence[Line]]:
    """The files of a job, and its loss curve."""
    losses = read_losses(folder / "losses.jsonl")
    pictures = [*captioned(samples_of(result_in(folder), folder)), *shown.on_the_way(folder)]
    return Looked(name, len(losses), pictures), losses


def _drawn(looked: Looked, losses: Sequence[Line] | None, before: Looked) -> tuple[Any, ...]:
    """The loss curve and the pictures, where they have changed."""
    same = looked.name == before.name
    curve = gr.skip() if same and looked.losses == before.losses else _frame(losses)
    pictures = gr.skip() if same and looked.pictures == before.pictures else gallery(looked.pictures)
    return curve, pictures, looked


def _frame(losses: Sequence[Line] | None) -> pd.DataFrame | None:
    return pd.DataFrame(shown.curve(losses)) if losses else None
