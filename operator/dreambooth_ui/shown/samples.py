"""The pictures that a job generates after its training, with the prompts and seeds of its manifest."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dreambooth_api.prompts import Words, fill_for_each


class Sample(NamedTuple):
    """A picture of a prompt of the samples, by the trained model."""

    template: str
    """The prompt with placeholders."""
    prompt: str
    """The prompt, filled in."""
    seed: int
    file: Path


def samples_of(result: Mapping[str, Any] | None, folder: Path) -> list[Sample]:
    """The pictures that a job has generated after its training.

    Args:
        result: see `result_in`; without one, there are no pictures.
        folder: folder of the run.
    """
    if result is None:
        return []
    settings = result["settings"]["samples"]
    words = [Words(one["identifier"], one["class"], one["name"]) for one in result.get("subjects") or ()]
    words = words or [Words(result["identifier"], result["class"])]
    prompts = [(template, prompt) for template in settings["prompts"] for prompt in fill_for_each(template, words)]
    found = [
        Sample(template, prompt, seed, folder / "samples" / f"{row:02d}-after-{seed:02d}.png")
        for row, (template, prompt) in enumerate(prompts)
        for seed in range(settings["perPrompt"])
    ]
    return [one for one in found if one.file.is_file()]


def result_in(folder: Path) -> Mapping[str, Any] | None:
    """The content of `result.json` in the folder of a run; None before there is one."""
    try:
        found: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
        return found
    except FileNotFoundError:
        return None


def in_common(one: Sequence[Sample], other: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """The pictures of two jobs that have the same prompt and seed."""
    of_other = {(sample.template, sample.seed): sample for sample in reversed(other)}
    pairs = ((sample, of_other.get((sample.template, sample.seed))) for sample in one)
    return [(sample, same) for sample, same in pairs if same]


def captioned(samples: Iterable[Sample]) -> Iterator[tuple[Path, str]]:
    """Pictures with their captions."""
    return ((sample.file, f"{sample.prompt}, seed {sample.seed}") for sample in samples)
