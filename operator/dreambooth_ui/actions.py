"""The buttons that change a job."""

from collections.abc import Collection
from typing import Any

import gradio as gr

from dreambooth_client import AsyncDreamBooth
from dreambooth_ui.handling import told
from dreambooth_ui.shown.html import text

LABELS = {"suspend": "Suspend", "resume": "Resume", "retry": "Start again", "delete": "Delete"}
"""The buttons, by the methods of a job."""


class Actions:
    """The buttons, in the Blocks that are being built; `delete` asks once more."""

    def __init__(self, dreambooth: AsyncDreamBooth, chosen: gr.Dropdown) -> None:
        """Builds them.

        Args:
            dreambooth: where the jobs are.
            chosen: the field with the name of the job.
        """
        self._dreambooth = dreambooth
        with gr.Row():
            buttons = {name: gr.Button(label, visible=False, size="sm", elem_id=name) for name, label in LABELS.items()}
        with gr.Row(visible=False) as question:
            sure = gr.Button("Delete it for good", variant="stop", size="sm", elem_id="sure")
            keep = gr.Button("Keep it", size="sm")
        self.buttons = list(buttons.values())
        for name in ("suspend", "resume", "retry"):
            buttons[name].click(self._doing(name), chosen, None)
        buttons["delete"].click(lambda: gr.update(visible=True), None, question)
        gr.on([keep.click, chosen.change], lambda: gr.update(visible=False), None, question)
        sure.click(self._doing("delete"), chosen, None).success(lambda: None, None, chosen)

    def _doing(self, action: str) -> Any:
        async def done(name: str | None) -> None:
            if name:
                with told():
                    job = await self._dreambooth.job(name)
                    await getattr(job, action)()
                gr.Info(text(f"{name}: {LABELS[action]} is done."), duration=4)

        return done


def possible(actions: Collection[str]) -> list[Any]:
    """Shows the buttons of the actions that are possible now."""
    return [gr.update(visible=name in actions) for name in LABELS]
