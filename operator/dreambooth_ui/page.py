"""The page: its tabs, and what they have to do with each other."""

from typing import Any

import gradio as gr

from dreambooth_client import AsyncDreamBooth
from dreambooth_ui.comparison import Comparison
from dreambooth_ui.jobs import Jobs
from dreambooth_ui.new_job import NewJob
from dreambooth_ui.scenes import Scenes
from dreambooth_ui.shown.html import paragraph

TITLE = "DreamBooth"


def page(dreambooth: AsyncDreamBooth) -> gr.Blocks:
    """The page.

    Args:
        dreambooth: where jobs run; it is connected.
    """
    # Telemetry is off; copies of what was shown for a day are deleted in a page that stays open.
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)) as blocks:
        gr.HTML(paragraph(f"Jobs of {dreambooth.backend.place}"), elem_id="where")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("New job", id="new"):
                new = NewJob(dreambooth)
            with gr.Tab("Jobs", id="jobs"):
                jobs = Jobs(dreambooth)
            with gr.Tab("Generate", id="generate") as generate:
                scenes = Scenes(dreambooth)
            with gr.Tab("Compare", id="compare") as compare:
                comparison = Comparison(dreambooth)

        async def started(*values: Any) -> tuple[Any, ...]:
            name, told = await new.submit(*values)
            if name is None:
                return told, gr.skip(), gr.skip()
            return told, gr.update(selected="jobs"), gr.update(choices=[name], value=name)

        new.start.click(started, new.fields, [new.findings, tabs, jobs.chosen])
        blocks.load(new.choices, None, new.chosen, show_progress="hidden")
        generate.select(scenes.choices, None, scenes.offered, show_progress="hidden")
        compare.select(comparison.choices, None, comparison.jobs, show_progress="hidden")
    return blocks
