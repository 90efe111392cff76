"""The tab "New job": photos, settings, plan, start."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from dreambooth_api.failures import ProblemsFound
from dreambooth_client import AsyncDreamBooth
from dreambooth_trainer.data.folder import PHOTOS
from dreambooth_ui.handling import FAILURES, told
from dreambooth_ui.shown import plan as shown_plan
from dreambooth_ui.shown.form import CLASSES, MODELS, Form
from dreambooth_ui.shown.html import bullets, paragraph
from dreambooth_ui.shown.photos import Crop, previews

if TYPE_CHECKING:
    from dreambooth_api.training import TrainConfig
    from dreambooth_trainer.planning.plan import Plan


DEFAULT_STEPS = 400
"""Of the field, which shows what the manifest has as its default."""


OF_MANIFEST = "0: as many as usual"
"""Of fields whose default the manifest has."""


class NewJob:
    """The tab, in the Blocks that are being built."""

    def __init__(self, dreambooth: AsyncDreamBooth) -> None:
        self._dreambooth = dreambooth
        with gr.Row():
            with gr.Column():
                self._fields = _fields(local=dreambooth.backend.has_files_at_hand)
            with gr.Column():
                self._previews = gr.Gallery(
                    label="What the training uses", columns=3, height=320, interactive=False, elem_id="previews"
                )
                self._findings = gr.HTML(elem_id="findings")
                self._plan = gr.HTML(elem_id="plan")
                with gr.Row():
                    plan = gr.Button("Show the plan")
                    self.start = gr.Button("Start", variant="primary")
        photos, crop = self._fields[0], self._fields[Form._fields.index("crop")]
        # Without a trigger: when the page is opened, and when a field changes.
        gr.on(None, _previews, [photos, crop], self._previews, show_progress="minimal")
        gr.on(None, self._check, self._fields, self._findings, trigger_mode="always_last", show_progress="hidden")
        plan.click(self._show_plan, self._fields, [self._findings, self._plan])

    @property
    def fields(self) -> Sequence[gr.components.Component]:
        """The fields, in the order of `Form`."""
        return self._fields

    @property
    def findings(self) -> gr.HTML:
        """Where problems and warnings are shown."""
        return self._findings

    async def choices(self) -> Sequence[Any]:
        """What the fields class, base model and runtime offer: what is usual, and what other jobs here have."""
        with told():
            jobs, runtimes = await self._dreambooth.jobs(), await self._dreambooth.runtimes()
        classes = [(job.spec.get("subject") or {}).get("class") for job in jobs]
        models = [(job.spec.get("model") or {}).get("source") for job in jobs]
        return (
            gr.update(choices=_distinct([*classes, *CLASSES])),
            gr.update(choices=_distinct([*models, *MODELS])),
            gr.update(choices=runtimes, visible=bool(runtimes)),
        )

    @property
    def chosen(self) -> list[gr.components.Component]:
        """The fields of `choices`."""
        return [self._fields[Form._fields.index(name)] for name in ("class_", "model", "runtime")]

    async def submit(self, *values: Any) -> tuple[str | None, Any]:
        """Starts the job of the form: its name, None if something is wrong; and what is shown."""
        form = Form(*values)
        if form.missing:
            return None, paragraph(form.missing, "message")
        try:
            job = await self._dreambooth.submit(**form.arguments())
        except FAILURES as failure:
            return None, _wrong(failure)
        return job.name, paragraph(f"{job.name} is submitted.")

    async def _check(self, *values: Any) -> str:
        form = Form(*values)
        if form.missing:
            return paragraph(form.missing, "message")
        try:
            checked = await self._dreambooth.check(**form.arguments())
        except FAILURES as failure:
            return _wrong(failure)
        return bullets(checked.warnings, "warnings") or paragraph("Photos and settings are fine.")

    async def _show_plan(self, *values: Any) -> tuple[str, str]:
        form = Form(*values)
        if form.missing:
            return paragraph(form.missing, "message"), ""
        try:
            checked = await self._dreambooth.check(**form.arguments())
            planned = await asyncio.to_thread(_planned, checked.config, int(form.gpus or 1))
            jobs = await self._dreambooth.jobs()
        except FAILURES as failure:
            return _wrong(failure), ""
        warnings = bullets(checked.warnings, "warnings")
        return warnings, shown_plan.memory(planned) + shown_plan.time(checked.job["spec"], [job.seen for job in jobs])


def _fields(*, local: bool) -> list[gr.components.Component]:
    """The fields of `Form`, in its order."""
    usual = [
        gr.File(label="Photos", file_count="multiple", file_types=sorted(PHOTOS), elem_id="photos", height=160),
        gr.Dropdown(
            CLASSES, value=None, label="Class", info="What the subject is", allow_custom_value=True, elem_id="class"
        ),
        gr.Textbox(label="Name", placeholder="the class, and letters", max_lines=1, elem_id="name"),
        gr.Dropdown(MODELS, value=MODELS[0], label="Base model", allow_custom_value=True, elem_id="model"),
        gr.Radio([("LoRA", "lora"), ("all weights", "full")], value="lora", label="What to train"),
        gr.Number(DEFAULT_STEPS, label="Steps", minimum=1, precision=0, elem_id="steps"),
        gr.Dropdown([], value=None, label="Runtime", visible=False),
        gr.Number(None if local else 1, label="GPUs", minimum=0, precision=0, visible=not local),
    ]
    with gr.Accordion("More settings", open=False):
        further = [
            gr.Radio(
                [("their middle square", "center"), ("their shapes", "none")], value="center", label="Of photos, use"
            ),
            gr.Textbox(
                label="Identifier", placeholder="a rare word, which is chosen", max_lines=1, elem_id="identifier"
            ),
            gr.Number(0, label="Class images", info=OF_MANIFEST, minimum=0, precision=0, elem_id="class-images"),
            gr.Number(0, label="Photos in a batch", info=OF_MANIFEST, minimum=0, precision=0),
            gr.Number(0, label="Learning rate", info="0: that of the method", minimum=0),
            gr.Number(0, label="Resolution", info="0: that of the base model", minimum=0, precision=0),
            gr.Number(
                0,
                label="Steps between pictures on the way",
                info="0: none",
                minimum=0,
                precision=0,
                elem_id="every-steps",
            ),
            gr.Textbox(
                label="Prompts of the pictures at the end, one a line",
                placeholder="a {identifier} {class} on the beach",
                lines=3,
                elem_id="sample-prompts",
            ),
            gr.Checkbox(True, label="Measure figures at the end", elem_id="evaluate"),
        ]
    return [*usual, *further]


def _previews(photos: Sequence[str] | None, crop: Crop) -> list[tuple[Any, str]]:
    return previews([Path(photo) for photo in photos or ()], crop)


def _planned(config: "TrainConfig", devices: int) -> "Plan":
    """The plan of a training. Runs in a thread: the first one imports torch, which takes seconds."""
    from dreambooth_trainer.planning.phases import Target
    from dreambooth_trainer.planning.plan import plan_run

    return plan_run(config, Target(devices=devices))


def _wrong(failure: Exception) -> str:
    """A failure, or each of the problems."""
    problems = failure.problems if isinstance(failure, ProblemsFound) else [failure]
    return bullets(problems, "problems")


def _distinct(values: Sequence[str | None]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]
