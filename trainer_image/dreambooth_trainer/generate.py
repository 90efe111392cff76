"""Generates the pictures of a scene. Called by `scene.py`."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from dreambooth_api.failures import InvalidConfig, OutOfMemory, Problem, classify
from dreambooth_api.model_families import Family
from dreambooth_api.progress import JsonModel
from dreambooth_api.prompts import fill_for_each
from dreambooth_api.scene import Scene, negative_prompt_without_guidance, texts_of
from dreambooth_api.training import Sampler
from dreambooth_trainer.data.prompts import Prompt, check
from dreambooth_trainer.evaluation.contact_sheet import MAX_ROWS, Row, contact_sheet, tile
from dreambooth_trainer.evaluation.pictures import BATCH, sampler_of
from dreambooth_trainer.gallery import Settings, find, remove_leftovers, save, stem
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.result import versions
from dreambooth_trainer.run import RunFolder, StopSignal
from dreambooth_trainer.scene_sources import Source, source_of

PER_ROW, SIDE = 8, 160
"""Pictures in a row of the contact sheet, and the side of a picture there in pixels."""


@dataclass(frozen=True)
class Process:
    """What the process that generates a scene offers."""

    progress: Progress
    stop: StopSignal
    warn: Callable[[str], None]
    """Called with each warning for the user."""
    name_of: Callable[[str], str]
    """What the user calls a field of the scene, such as `spec.prompts[0]`."""


class ScenePicture(JsonModel):
    """A picture of a scene."""

    file: str
    prompt: str
    """The prompt, filled in."""
    seed: int


class SceneRecord(JsonModel):
    """The pictures of a scene and what they have in common: the JSON file of the contact sheet."""

    schema_version: int = 1
    identifier: str
    """Empty if it is not known."""
    step: int | None
    """Step of the training after which the weights generated the pictures; None for a model without a run."""
    model: str
    """A digest that identifies the model with these weights."""
    settings: dict[str, Any]
    """Settings of all pictures: negative prompt, sampler, size, scale of the adapters, device and versions."""
    pictures: list[ScenePicture]


def generate(
    folder: RunFolder | None, scene: Scene, output: Path, process: Process, name: str | None
) -> Iterator[Path]:
    """Generates the pictures of a scene.

    Each picture is written as soon as it is generated. A picture that is in the folder with the same settings is not
    generated again, and no file is replaced by another picture. So a scene that was interrupted goes on, and a changed
    scene keeps the pictures that it still has.

    Args:
        folder: folder of the run; None for a scene that names a model.
        scene: what to generate.
        output: folder of the pictures.
        process: progress, interruption and warnings.
        name: name of the contact sheet and of the record, which are written last; None for one made of the first
            prompt, so that a folder can have those of several scenes.

    Yields:
        The files of the pictures, and at the end the contact sheet.

    Raises:
        InvalidConfig: the folder holds no run with trained weights, or the scene doesn't fit what generates it.
        ModelUnavailable: the model can't be loaded.
        OutOfMemory: the memory has no room for one picture.
        Interrupted: the process must stop; the pictures so far are kept.
    """
    progress, distributed = process.progress, Distributed()
    with progress.phase("load"), _enough_memory():
        source = source_of(folder, scene, process.warn)
        sampler = scene.sampler.over(sampler_of(source.samples))
        identifier = ", ".join(filter(None, (one.identifier for one in source.words)))
        progress.update(
            identifier=identifier, device=distributed.device_name, step=source.step, total_steps=source.steps
        )
        _refuse(source.problems())
        _refuse(_conflicts(scene, sampler, source.family()))
        process.stop.check()
        model, digest = source.load(distributed)
        width, height = _size(scene, source, model)
        _refuse(_size_problems((width, height), model.size_multiple))
        prompts, negative_prompt = _prompts(scene, source, model, process)
    common = {
        "negativePrompt": negative_prompt,
        **sampler.model_dump(by_alias=True),
        "width": width,
        "height": height,
        **({} if scene.adapter_scale is None else {"adapterScale": scene.adapter_scale}),
        "model": digest,
        "device": distributed.device_name,
        "versions": versions(),
    }

    def images(wanted: Sequence[tuple[str, int]]) -> list[Image.Image]:
        texts, seeds = zip(*wanted, strict=True)
        return model.generate(texts, seeds, sampler, (width, height), negative_prompt).images

    output.mkdir(parents=True, exist_ok=True)
    remove_leftovers(output)
    seeds = range(scene.seed, scene.seed + scene.per_prompt)
    pictures, sheet = [], Sheet()
    wanted = [(text, seed) for text in prompts for seed in seeds]
    denoising = partial(model.denoising, negative_prompt=negative_prompt)
    for picture in _pictures(wanted, output, common, denoising, images, process):
        pictures.append(picture)
        sheet.add(picture.prompt, output / picture.file)
        yield output / picture.file
    record = SceneRecord(
        identifier=identifier, step=source.step, model=digest, settings=common, pictures=pictures
    ).model_dump(mode="json")
    name = name or f"{stem(prompts[0])}-sheet"
    yield find(output, name, record) or save(output, name, record, sheet.image())


def _pictures(
    wanted: Sequence[tuple[str, int]],
    output: Path,
    common: Settings,
    denoising: Callable[[Collection[str]], AbstractContextManager[None]],
    images: Callable[[Sequence[tuple[str, int]]], list[Image.Image]],
    process: Process,
) -> Iterator[ScenePicture]:
    """Each picture; generates those that are missing, batch by batch.

    Args:
        wanted: prompt and seed of each picture.
        output: folder of the files.
        common: settings of all pictures.
        denoising: the context that pictures of some prompts are generated in.
        images: generates pictures of some prompts and seeds.
        process: progress and interruption.
    """

    def settings(prompt: str, seed: int) -> Settings:
        return {"prompt": prompt, **common, "seed": seed}

    def name(prompt: str, seed: int) -> str:
        return f"{stem(prompt)}-{seed:04d}"

    there = {one: path for one in wanted if (path := find(output, name(*one), settings(*one)))}
    new = {prompt for prompt, seed in wanted if (prompt, seed) not in there}
    with (
        process.progress.phase("generate", total=len(wanted), unit="pictures", done=len(there)) as phase,
        _enough_memory(),
        denoising(new) if new else nullcontext(),
    ):
        for start in range(0, len(wanted), BATCH):
            process.stop.check()
            batch = wanted[start : start + BATCH]
            if missing := [one for one in batch if one not in there]:
                for one, image in zip(missing, images(missing), strict=True):
                    there[one] = save(output, name(*one), settings(*one), image)
                phase.advance(len(missing))
            for prompt, seed in batch:
                yield ScenePicture(file=there[prompt, seed].name, prompt=prompt, seed=seed)


class Sheet:
    """The contact sheet of a scene. It keeps thumbnails: the pictures themselves may not fit into memory."""

    def __init__(self) -> None:
        """Begins without pictures."""
        self._tiles: dict[str, list[Image.Image]] = {}

    def add(self, prompt: str, picture: Path) -> None:
        """Adds the thumbnail of a picture, if the sheet has room."""
        tiles = self._tiles.setdefault(prompt, [])
        if sum(map(len, self._tiles.values())) < PER_ROW * MAX_ROWS:
            with Image.open(picture) as image:
                tiles.append(tile(image, SIDE))

    def image(self) -> Image.Image:
        """The sheet, with each prompt above its first row."""
        rows = [
            Row("" if start else prompt, [tiles[start : start + PER_ROW]])
            for prompt, tiles in self._tiles.items()
            for start in range(0, len(tiles), PER_ROW)
        ]
        return contact_sheet(rows, side=SIDE, per_column=PER_ROW)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Words a lack of memory for the author of a scene: the classes of failure speak of a training."""
    try:
        yield
    except Exception as error:
        if isinstance(failure := classify(error), OutOfMemory) and failure is not error:
            raise OutOfMemory(f"{str(error).splitlines()[0]}. Give a smaller size, or ask for more memory.") from error
        raise


def _size(scene: Scene, source: Source, model: ModelFamily) -> tuple[int, int]:
    if scene.size:
        return scene.size.width, scene.size.height
    side = source.resolution or model.resolution
    return side, side


def _prompts(scene: Scene, source: Source, model: ModelFamily, process: Process) -> tuple[list[str], str]:
    """The distinct prompts and the negative prompt, filled in and checked against what the text encoder reads."""
    words = tuple(word for one in source.words for word in (one.identifier, one.class_) if word)
    # Each prompt names its subjects, so that it stands for one.
    filled = {place: fill_for_each(text, source.words)[0] for place, text in texts_of(scene).items()}
    problems, warnings = check(
        [Prompt(process.name_of(place), text, words) for place, text in filled.items()], model.read_length
    )
    _refuse(problems)
    for warning in warnings:
        process.warn(warning)
    negative_prompt = filled.pop("spec.negativePrompt")
    return list(dict.fromkeys(filled.values())), negative_prompt


def _conflicts(scene: Scene, sampler: Sampler, family: Family | None) -> Iterator[Problem]:
    """Problems of a negative prompt that has no effect."""
    if scene.negative_prompt and family and family.embeds_guidance:
        message = f"has no effect, because {family.name} takes the guidance scale as an input"
        yield Problem("spec.negativePrompt", scene.negative_prompt, message, "Remove it")
    elif scene.negative_prompt and sampler.guidance_scale == 1:
        yield negative_prompt_without_guidance(scene.negative_prompt)


def _refuse(problems: Iterable[Problem]) -> None:
    if found := list(problems):
        raise InvalidConfig(found)


def _size_problems(size: tuple[int, int], multiple: int) -> Iterator[Problem]:
    if any(side % multiple for side in size):
        near = "x".join(str(max(1, round(side / multiple)) * multiple) for side in size)
        message = f"is no size that the model can generate: width and height must be multiples of {multiple}"
        yield Problem("spec.size", "x".join(map(str, size)), message, f"Give {near}")
