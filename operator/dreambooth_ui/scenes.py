"""The tab "Generate": new pictures of a subject that a job has learned."""

import tempfile
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from dreambooth_client import AsyncDreamBooth, AsyncScene
from dreambooth_ui.handling import FAILURES, gallery, servable, told
from dreambooth_ui.shown.form import lines
from dreambooth_ui.shown.html import paragraph
from dreambooth_ui.shown.scene import captioned, state

AS_TRAINED = "0: as in the training"


class Scenes:
    """The tab, in the Blocks that are being built."""

    def __init__(self, dreambooth: AsyncDreamBooth) -> None:
        self._dreambooth = dreambooth
        with gr.Row():
            with gr.Column():
                self.job = gr.Dropdown([], value=None, label="Job", elem_id="scene-job")
                prompts = gr.Textbox(
                    "a {identifier} {class} on the beach",
                    label="Prompts, one a line",
                    info="{identifier} and {class} stand for those of the job",
                    lines=4,
                    elem_id="prompts",
                )
                with gr.Row():
                    count = gr.Number(4, label="Pictures of each prompt", minimum=1, precision=0, elem_id="count")
                    seed = gr.Number(0, label="Seed of the first", minimum=0, precision=0, elem_id="seed")
                negative = gr.Textbox(label="Negative prompt", info="what the pictures should not show")
                with gr.Row():
                    width = gr.Number(0, label="Width", info=AS_TRAINED, minimum=0, precision=0)
                    height = gr.Number(0, label="Height", info=AS_TRAINED, minimum=0, precision=0)
                    scale = gr.Number(1, label="Adapter scale", info="0: the base model, 1: as learned", minimum=0)
                generate = gr.Button("Generate", variant="primary", elem_id="generate")
            with gr.Column():
                self.scene = gr.Dropdown([], value=None, label="Earlier pictures", elem_id="scene")
                status = gr.HTML(elem_id="scene-state")
                pictures = gr.Gallery(columns=4, height=480, interactive=False, label="Pictures", elem_id="generated")
                download = gr.DownloadButton("Download all", interactive=False, elem_id="download-all")
        outputs = [status, pictures, download]
        given = [self.job, prompts, count, seed, negative, width, height, scale]
        generate.click(self._generate, given, outputs, show_progress="hidden").then(self.choices, None, self.offered)
        self.scene.input(self._earlier, self.scene, outputs)

    @property
    def offered(self) -> list[gr.components.Component]:
        """What `choices` fills."""
        return [self.job, self.scene]

    async def choices(self) -> tuple[Any, Any]:
        """The jobs that may generate, and the scenes that there are."""
        with told():
            jobs, scenes = await self._dreambooth.jobs(), await self._dreambooth.scenes()
        return gr.update(choices=[job.name for job in jobs]), gr.update(choices=[scene.name for scene in scenes])

    async def _generate(
        self,
        job: str | None,
        prompts: str | None,
        count: int | None,
        seed: int | None,
        negative: str | None,
        width: int | None,
        height: int | None,
        scale: float | None,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Starts a scene and shows its state until its pictures are there."""
        if not job or not lines(prompts):
            yield paragraph("Choose a job, and write a prompt.", "message"), gr.skip(), gr.skip()
            return
        try:
            scene = await (await self._dreambooth.job(job)).start_scene(
                lines(prompts),
                count=count or 1,
                seed=seed or 0,
                negative_prompt=negative or "",
                size=_size(width, height),
                adapter_scale=None if scale == 1 else scale,
            )
            async for one in scene.follow():
                yield state(one.seen), gr.skip(), gr.skip()
            yield await _result(one)
        except FAILURES as failure:
            yield paragraph(failure, "message"), gr.skip(), gr.skip()

    async def _earlier(self, name: str | None) -> tuple[Any, ...]:
        with told():
            return await _result(await self._dreambooth.scene(name)) if name else (gr.skip(),) * 3


def _size(width: int | None, height: int | None) -> tuple[int, int] | None:
    """Width and height of the pictures: of a square, if only one is given; None if none is."""
    one, other = width or height, height or width
    return (one, other) if one and other else None


async def _result(scene: AsyncScene) -> tuple[Any, ...]:
    """State, pictures, and a file with all of them."""
    pictures = captioned(await scene.pictures())
    files = [file for file, _ in pictures]
    archive = gr.update(value=_packed(scene.name, files), interactive=True) if files else gr.update(interactive=False)
    return state(scene.seen), gallery(pictures), archive


def _packed(name: str, pictures: Sequence[Path]) -> str:
    """A ZIP file of the pictures with their settings, which the page may offer."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{name}.zip"
        # Pictures are compressed already.
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for picture in pictures:
                for file in (picture, picture.with_suffix(".json")):
                    packed.write(file, file.name)
        return servable(archive)
