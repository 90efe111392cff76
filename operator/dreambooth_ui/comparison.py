"""The tab "Compare": two jobs side by side."""

from typing import Any

import gradio as gr

from dreambooth_client import AsyncDreamBooth
from dreambooth_ui.handling import gallery, told
from dreambooth_ui.jobs import FILES
from dreambooth_ui.shown.difference import differing, side_by_side
from dreambooth_ui.shown.html import paragraph, table
from dreambooth_ui.shown.job import figures_of
from dreambooth_ui.shown.samples import captioned, in_common, result_in, samples_of


class Comparison:
    """The tab, in the Blocks that are being built."""

    def __init__(self, dreambooth: AsyncDreamBooth) -> None:
        self._dreambooth = dreambooth
        with gr.Row():
            self.jobs = [gr.Dropdown([], value=None, label=label, elem_id=label.lower()) for label in ("One", "Other")]
        compare = gr.Button("Compare", elem_id="compare")
        facts = gr.HTML(elem_id="compared")
        with gr.Row():
            pictures = [
                gr.Gallery(columns=4, height=400, interactive=False, label=label, elem_id=f"pictures-{label.lower()}")
                for label in ("One", "Other")
            ]
        compare.click(self._compared, self.jobs, [facts, *pictures])

    async def choices(self) -> list[Any]:
        """The jobs to choose from."""
        with told():
            names = [job.name for job in await self._dreambooth.jobs()]
        return [gr.update(choices=names) for _ in self.jobs]

    async def _compared(self, one: str | None, other: str | None) -> tuple[Any, ...]:
        """What differs, and the pictures of the same prompts and seeds. Copies them, if they are in a cluster."""
        if not one or not other:
            return paragraph("Choose two jobs.", "message"), [], []
        with told():
            jobs = [await self._dreambooth.job(name) for name in (one, other)]
            folders = [await job.fetch(only=FILES) for job in jobs]
        results = [result_in(folder) for folder in folders]
        figures = table(("figure", one, other), side_by_side(*map(figures_of, results)))
        settings = table(("setting", one, other), differing(*(job.spec for job in jobs)))
        pairs = in_common(*map(samples_of, results, folders))
        none = "" if pairs else paragraph("They have no picture of the same prompt and seed.", "message")
        return figures + settings + none, *(gallery(captioned(pair[side] for pair in pairs)) for side in (0, 1))
