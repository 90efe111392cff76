"""New pictures from a finished run, any time after it. Called by `dreambooth generate`."""

import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.prompts import fill
from dreambooth_api.training import Sampler, Scheduler
from dreambooth_trainer.data.prompts import Prompt, judge
from dreambooth_trainer.evaluation.contact_sheet import MAX_ROWS, Row, contact_sheet, tile
from dreambooth_trainer.evaluation.pictures import BATCH, sampler_of
from dreambooth_trainer.job import quiet_libraries
from dreambooth_trainer.models.base import Size
from dreambooth_trainer.phases.export import exported_model
from dreambooth_trainer.process.storage import write_atomically
from dreambooth_trainer.result import RunResult, read_result, versions
from dreambooth_trainer.run import RunFolder

Settings = Mapping[str, Any]
"""All that determines a picture, as it stands in JSON."""

PER_ROW, SIDE = 8, 160
"""Pictures in a row of the contact sheet, and pixels of their sides there."""

LONGEST_STEM = 100
"""Bytes that a prompt has in a file name, whose limit is 255 on most file systems."""


@dataclass(frozen=True)
class Wish:
    """What to draw; what is None is as in the run's samples."""

    prompt: str
    """`{identifier}` and `{class}` are filled in, here and in the negative prompt."""
    count: int = 8
    seed: int = 0
    """Seed of the first picture; the others follow."""
    negative_prompt: str = ""
    """What guidance steers away from."""
    scheduler: Scheduler | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    size: Size | None = None
    """None for the training resolution."""
    adapter_scale: float | None = None
    """Share of what the adapters learned, for a run of method lora; None for all of it."""

    def sampler(self, default: Sampler) -> Sampler:
        """How to draw."""
        names = ("scheduler", "steps", "guidance_scale")
        return default.model_copy(update={name: value for name in names if (value := getattr(self, name)) is not None})


def generate(folder: Path, wish: Wish, output: Path, warn: Callable[[str], None]) -> Iterator[Path]:
    """Draws with the model of a finished run.

    Each picture is written as soon as it is drawn, with its settings beside it in a JSON file and inside it as text. No file
    is ever replaced by another picture. A picture that is there already, with the very settings, is not drawn again.

    Args:
        folder: folder of the run.
        wish: what to draw.
        output: folder of the pictures.
        warn: told what the user should know.

    Yields:
        The pictures, and last a contact sheet of them.

    Raises:
        InvalidConfig: the folder holds no finished run, or the wish can't be fulfilled.
        ModelUnavailable: the exported model can't be loaded.
    """
    quiet_libraries()
    from dreambooth_trainer.models import load
    from dreambooth_trainer.process.distributed import Distributed

    run, distributed = RunFolder(folder), Distributed()
    if not run.complete.exists():
        message, remedy = "holds no finished run", "Give the output folder of a `dreambooth run` that has ended"
        raise InvalidConfig([Problem("DIR", str(folder), message, remedy)])
    result = read_result(run.result)
    sampler = wish.sampler(sampler_of(result.config.samples))
    _refuse(_conflicts(wish, sampler, result))
    model = load(exported_model(run, result.config), distributed, result.config.training.mixed_precision)
    size = wish.size or result.config.training.resolution or model.resolution
    width, height = (size, size) if isinstance(size, int) else size
    _refuse(_size_problems((width, height), model.size_multiple))
    if wish.adapter_scale is not None and wish.adapter_scale != 1:
        model.rescale_adapters(run.model / "lora", wish.adapter_scale)

    prompt, negative_prompt = (
        fill(text, identifier=result.identifier, class_=result.class_) for text in (wish.prompt, wish.negative_prompt)
    )
    kept = (result.identifier, result.class_)
    asked = [Prompt("PROMPT", prompt, kept), Prompt("--negative-prompt", negative_prompt, kept)]
    problems, warnings = judge(asked, model.read_length)
    _refuse(problems)
    for warning in warnings:
        warn(warning)
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
    output.mkdir(parents=True, exist_ok=True)
    shown = Shown([], [])
    for start in range(0, wish.count, BATCH):
        seeds = range(wish.seed + start, wish.seed + min(start + BATCH, wish.count))
        names = {seed: f"{stem(prompt)}-{seed:04d}" for seed in seeds}
        paths = {seed: find_place(output, name, {**common, "seed": seed}) for seed, name in names.items()}
        missing = [seed for seed, path in paths.items() if not path.exists()]
        if missing:
            drawn = model.draw([prompt] * len(missing), missing, sampler, (width, height), negative_prompt)
            for seed, image in zip(missing, drawn.images, strict=True):
                paths[seed] = save(output, names[seed], {**common, "seed": seed}, image)
        for path in paths.values():
            shown.add(path)
            yield path
    yield save(output, f"{stem(prompt)}-sheet", {"prompt": prompt, "pictures": shown.names}, shown.sheet(prompt))


class Shown(NamedTuple):
    """What a contact sheet needs of pictures: not the pictures, of which there may be more than the memory holds."""

    names: list[str]
    tiles: list[Image.Image]

    def add(self, picture: Path) -> None:
        """Adds a picture, if the sheet has room."""
        self.names.append(picture.name)
        if len(self.tiles) < PER_ROW * MAX_ROWS:
            with Image.open(picture) as image:
                self.tiles.append(tile(image, SIDE))

    def sheet(self, prompt: str) -> Image.Image:
        """The contact sheet; the prompt stands above its first row."""
        starts = range(0, len(self.tiles), PER_ROW)
        rows = [Row("" if start else prompt, [self.tiles[start : start + PER_ROW]]) for start in starts]
        return contact_sheet(rows, side=SIDE, per_column=PER_ROW)


def _conflicts(wish: Wish, sampler: Sampler, result: RunResult) -> Iterator[Problem]:
    """What options say together, and with the run."""
    if wish.adapter_scale is not None and result.config.training.method != "lora":
        message, remedy = "has no effect, as the run trained all weights", "Remove it, or give a run of method lora"
        yield Problem("--adapter-scale", wish.adapter_scale, message, remedy)
    if wish.negative_prompt and sampler.guidance_scale == 1:
        message, remedy = "has no effect, as the guidance scale is 1", "Give a --guidance-scale above 1, or remove it"
        yield Problem("--negative-prompt", wish.negative_prompt, message, remedy)


def _size_problems(size: tuple[int, int], multiple: int) -> Iterator[Problem]:
    if any(side % multiple for side in size):
        near = "x".join(str(max(1, round(side / multiple)) * multiple) for side in size)
        message = f"is no size that the model can draw: width and height must be multiples of {multiple}"
        yield Problem("--size", "x".join(map(str, size)), message, f"Give {near}")


def _refuse(problems: Iterable[Problem]) -> None:
    if found := list(problems):
        raise InvalidConfig(found)


def save(folder: Path, name: str, settings: Settings, image: Image.Image) -> Path:
    """Writes a picture under its name, or one like it that is free, with its settings beside and inside it."""
    # Another process may take the same name; the file of the settings is whose who makes it.
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
    """The file that holds, or may hold, a picture of some settings: of `name`, `name-2`, `name-3`, ... the first fitting."""
    for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        path = folder / f"{name}{suffix}.png"
        known = _settings_beside(path)
        if known == settings or (known is None and not path.exists()):
            return path
    raise AssertionError("numbers never end")


def _take(path: Path, settings: Settings) -> bool:
    """Writes the settings beside a picture's file; False where others have been written there meanwhile."""
    try:
        with path.with_suffix(".json").open("x", encoding="utf-8") as file:
            json.dump(settings, file, indent=2, ensure_ascii=False)
    except FileExistsError:
        return _settings_beside(path) == settings
    return True


def _settings_beside(path: Path) -> Any:
    """The settings beside a picture's file; None where there are none."""
    try:
        return json.loads(path.with_suffix(".json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return "damaged"


def stem(prompt: str) -> str:
    """A prompt as the beginning of a file name."""
    words = "-".join("".join(letter if letter.isalnum() else " " for letter in prompt.lower()).split())
    return words.encode()[:LONGEST_STEM].decode(errors="ignore").rstrip("-") or "picture"
