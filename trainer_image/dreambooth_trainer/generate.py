"""Generates new pictures with the model of a finished run. Called by `dreambooth generate`."""

import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.model_families import Family
from dreambooth_api.model_files import family_of
from dreambooth_api.prompts import fill
from dreambooth_api.training import Sampler, Scheduler
from dreambooth_trainer.data.prompts import Prompt, check
from dreambooth_trainer.evaluation.contact_sheet import MAX_ROWS, Row, contact_sheet, tile
from dreambooth_trainer.evaluation.pictures import BATCH, sampler_of
from dreambooth_trainer.models.base import ModelFamily, Size
from dreambooth_trainer.phases.export import exported_model
from dreambooth_trainer.process.storage import write_atomically
from dreambooth_trainer.result import RunResult, read_result, versions
from dreambooth_trainer.run import RunFolder
from dreambooth_trainer.start import quiet_libraries

Settings = Mapping[str, Any]
"""All settings that determine a picture, in the form of JSON."""

PER_ROW, SIDE = 8, 160
"""Pictures in a row of the contact sheet, and the side of a picture there in pixels."""

LONGEST_STEM = 100
"""Most bytes of a prompt in a file name. The limit of a whole name is 255 on most file systems."""


@dataclass(frozen=True)
class Wish:
    """What to generate. A setting of None has the value of the run's samples."""

    prompt: str
    """`{identifier}` and `{class}` are filled in, here and in the negative prompt."""
    count: int = 8
    seed: int = 0
    """Seed of the first picture; the others follow."""
    negative_prompt: str = ""
    """What guidance moves the pictures away from."""
    scheduler: Scheduler | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    size: Size | None = None
    """None for the training resolution."""
    adapter_scale: float | None = None
    """Scale of the adapters, for a run of method lora; None for 1."""

    def sampler(self, default: Sampler) -> Sampler:
        """The sampler settings."""
        names = ("scheduler", "steps", "guidance_scale")
        return default.model_copy(update={name: value for name in names if (value := getattr(self, name)) is not None})


def generate(folder: Path, wish: Wish, output: Path, warn: Callable[[str], None]) -> Iterator[Path]:
    """Generates pictures with the model of a finished run.

    Each picture is written as soon as it is generated, with its settings as text in the picture and in a JSON file of
    the same name. No file is replaced by another picture. A picture that exists with the same settings is not generated
    again.

    Args:
        folder: folder of the run.
        wish: what to generate.
        output: folder of the pictures.
        warn: called with each warning for the user.

    Yields:
        The files of the pictures, and at the end the file of a contact sheet.

    Raises:
        InvalidConfig: the folder holds no finished run, or the settings don't fit the run.
        ModelUnavailable: the exported model can't be loaded.
    """
    quiet_libraries()
    from dreambooth_trainer.models import load
    from dreambooth_trainer.process.distributed import Distributed

    run, distributed = RunFolder(folder), Distributed()
    result = _read_finished(run)
    sampler = wish.sampler(sampler_of(result.config.samples))
    source = exported_model(run, result.config)
    family = family_of(Path(source.source))
    _refuse(_conflicts(wish, sampler, result, family))
    # Rescaled adapters change the weights.
    exact = wish.adapter_scale is not None and family is not None and family.exports_float32
    model = load(source, distributed, result.config.training.mixed_precision, exact=exact)
    size = wish.size or result.config.training.resolution or model.resolution
    width, height = (size, size) if isinstance(size, int) else size
    _refuse(_size_problems((width, height), model.size_multiple))
    if wish.adapter_scale is not None and wish.adapter_scale != 1:
        model.rescale_adapters(run.model / "lora", wish.adapter_scale)
    prompt, negative_prompt = _prompts(wish, result, model, warn)
    common = {
        "prompt": prompt,
        "negativePrompt": negative_prompt,
        **sampler.model_dump(by_alias=True),
        "width": width,
        "height": height,
        **({} if wish.adapter_scale is None else {"adapterScale": wish.adapter_scale}),
        "model": model.digest,
        "device": distributed.device_name,
        "versions": versions(),
    }

    def images(seeds: Sequence[int]) -> list[Image.Image]:
        return model.generate([prompt] * len(seeds), seeds, sampler, (width, height), negative_prompt).images

    output.mkdir(parents=True, exist_ok=True)
    shown = Shown([], [])
    for path in _pictures(range(wish.seed, wish.seed + wish.count), output, stem(prompt), common, images):
        shown.add(path)
        yield path
    yield save(output, f"{stem(prompt)}-sheet", {"prompt": prompt, "pictures": shown.names}, shown.sheet(prompt))


def _read_finished(run: RunFolder) -> RunResult:
    if not run.complete.exists():
        message, remedy = "holds no finished run", "Give the output folder of a `dreambooth run` that has ended"
        raise InvalidConfig([Problem("DIR", str(run.root), message, remedy)])
    return read_result(run.result)


def _prompts(wish: Wish, result: RunResult, model: ModelFamily, warn: Callable[[str], None]) -> tuple[str, str]:
    """The prompt and the negative prompt, filled in and checked against what the text encoder reads."""
    prompt, negative_prompt = (
        fill(text, identifier=result.identifier, class_=result.class_) for text in (wish.prompt, wish.negative_prompt)
    )
    kept = (result.identifier, result.class_)
    asked = [Prompt("PROMPT", prompt, kept), Prompt("--negative-prompt", negative_prompt, kept)]
    problems, warnings = check(asked, model.read_length)
    _refuse(problems)
    for warning in warnings:
        warn(warning)
    return prompt, negative_prompt


def _pictures(
    seeds: Sequence[int],
    output: Path,
    name: str,
    common: Settings,
    images: Callable[[Sequence[int]], list[Image.Image]],
) -> Iterator[Path]:
    """The file of each picture; generates those that are missing, batch by batch.

    Args:
        seeds: one for each picture.
        output: folder of the files.
        name: beginning of their names.
        common: settings of all pictures, without the seed.
        images: generates the pictures of some seeds.
    """
    for start in range(0, len(seeds), BATCH):
        batch = seeds[start : start + BATCH]
        names = {seed: f"{name}-{seed:04d}" for seed in batch}
        paths = {seed: find_place(output, names[seed], {**common, "seed": seed}) for seed in batch}
        missing = [seed for seed, path in paths.items() if not path.exists()]
        if missing:
            for seed, image in zip(missing, images(missing), strict=True):
                paths[seed] = save(output, names[seed], {**common, "seed": seed}, image)
        yield from paths.values()


class Shown(NamedTuple):
    """Names and thumbnails for a contact sheet. The pictures themselves may not fit into memory."""

    names: list[str]
    tiles: list[Image.Image]

    def add(self, picture: Path) -> None:
        """Adds a picture, and its thumbnail if the sheet has room."""
        self.names.append(picture.name)
        if len(self.tiles) < PER_ROW * MAX_ROWS:
            with Image.open(picture) as image:
                self.tiles.append(tile(image, SIDE))

    def sheet(self, prompt: str) -> Image.Image:
        """The contact sheet, with the prompt above its first row."""
        starts = range(0, len(self.tiles), PER_ROW)
        rows = [Row("" if start else prompt, [self.tiles[start : start + PER_ROW]]) for start in starts]
        return contact_sheet(rows, side=SIDE, per_column=PER_ROW)


def _conflicts(wish: Wish, sampler: Sampler, result: RunResult, family: Family | None) -> Iterator[Problem]:
    """Problems of options that have no effect with other options, with the run or with the family of its model."""
    if wish.adapter_scale is not None and result.config.training.method != "lora":
        message, remedy = (
            "has no effect, because the run trained all weights",
            "Remove it, or give a run of method lora",
        )
        yield Problem("--adapter-scale", wish.adapter_scale, message, remedy)
    elif wish.adapter_scale is not None and result.config.training.lora.use_dora:
        message = (
            "can't be applied, because the run trained DoRA, whose change of the weights is no multiple of its adapters"
        )
        yield Problem("--adapter-scale", wish.adapter_scale, message, "Remove it")
    if wish.negative_prompt and family and family.embeds_guidance:
        message = f"has no effect, because {family.name} takes the guidance scale as an input"
        yield Problem("--negative-prompt", wish.negative_prompt, message, "Remove it")
    elif wish.negative_prompt and sampler.guidance_scale == 1:
        message, remedy = (
            "has no effect, because the guidance scale is 1",
            "Give a --guidance-scale above 1, or remove it",
        )
        yield Problem("--negative-prompt", wish.negative_prompt, message, remedy)


def _size_problems(size: tuple[int, int], multiple: int) -> Iterator[Problem]:
    if any(side % multiple for side in size):
        near = "x".join(str(max(1, round(side / multiple)) * multiple) for side in size)
        message = f"is no size that the model can generate: width and height must be multiples of {multiple}"
        yield Problem("--size", "x".join(map(str, size)), message, f"Give {near}")


def _refuse(problems: Iterable[Problem]) -> None:
    if found := list(problems):
        raise InvalidConfig(found)


def save(folder: Path, name: str, settings: Settings, image: Image.Image) -> Path:
    """Writes a picture and its settings, under a name with a number if the name itself is in use."""
    # Another process may use the same name. The process that creates the file of the settings owns the name.
    while not _take(path := find_place(folder, name, settings), settings):
        pass
    if path.exists():
        return path
    text = PngInfo()
    for key, value in settings.items():
        text.add_text(key, value if isinstance(value, str) else json.dumps(value))
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=text)
    write_atomically(path, content.getvalue())
    return path


def find_place(folder: Path, name: str, settings: Settings) -> Path:
    """The file for a picture with these settings: the first of `name`, `name-2`, ... that holds the picture or is
    free."""
    for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        path = folder / f"{name}{suffix}.png"
        known = _read_settings(path)
        if known == settings or (known is None and not path.exists()):
            return path
    raise AssertionError("numbers never end")


def _take(path: Path, settings: Settings) -> bool:
    """Writes the settings of a picture; False if the file of the settings exists with other settings."""
    try:
        with path.with_suffix(".json").open("x", encoding="utf-8") as file:
            json.dump(settings, file, indent=2, ensure_ascii=False)
    except FileExistsError:
        return _read_settings(path) == settings
    return True


def _read_settings(path: Path) -> Any:
    """The settings of a picture in its JSON file; None if there is no file."""
    try:
        return json.loads(path.with_suffix(".json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return "damaged"


def stem(prompt: str) -> str:
    """A prompt in the form of the beginning of a file name."""
    words = "-".join("".join(letter if letter.isalnum() else " " for letter in prompt.lower()).split())
    return words.encode()[:LONGEST_STEM].decode(errors="ignore").rstrip("-") or "picture"
