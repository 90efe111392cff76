"""Finds prompts that are longer than the text encoder reads. Called by `prepare` and by `generate`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dreambooth_api.failures import Problem
from dreambooth_api.prompts import Words, end_of_mention, fill_for_each, fill_for_one
from dreambooth_api.training import TrainConfig

ReadLength = Callable[[str], int]
"""How many characters of a prompt, from its beginning, the text encoder reads."""


@dataclass(frozen=True)
class Prompt:
    """A prompt, filled in."""

    field: str
    """Field of the manifest, or argument, from which it comes."""
    text: str
    names: tuple[str, ...]
    """Identifiers and classes: if one of them is in the text, the text encoder must read it."""


def prompts_of(
    config: TrainConfig, subjects: Sequence[Words], captions: Sequence[Mapping[str, str]]
) -> Iterator[Prompt]:
    """All prompts of a run, phase by phase.

    Args:
        config: the settings.
        subjects: the words of each subject.
        captions: for each subject, captions by the names of their photos.
    """
    evaluation = config.evaluation
    for (place, subject), words, of_photos in zip(config.all_subjects.items(), subjects, captions, strict=True):
        templates = {f"spec.{place}.prompt": subject.prompt}
        templates |= {f"spec.{place}.images, caption of {photo}": text for photo, text in of_photos.items()}
        for field, template in templates.items():
            yield Prompt(field, fill_for_one(template, words, subjects), (words.identifier, words.class_))
    if config.prior.enabled:
        yield from _filled({"spec.prior.prompt": config.prior.prompt}, subjects)
    yield from _filled(
        {f"spec.samples.prompts[{number}]": text for number, text in enumerate(config.samples.prompts)}, subjects
    )
    if evaluation.enabled:
        contexts = {
            f"spec.evaluation.contexts[{number}]": f"a {{identifier}} {{class}} {context}"
            for number, context in enumerate(evaluation.contexts)
        }
        yield from _filled(contexts, subjects)
        for number, other in enumerate(evaluation.other_classes):
            yield Prompt(f"spec.evaluation.otherClasses[{number}]", f"a {other}", (other,))


def _filled(templates: Mapping[str, str], subjects: Sequence[Words]) -> Iterator[Prompt]:
    """Prompts, filled in for each subject.

    Args:
        templates: prompts with placeholders by the fields from which they come.
        subjects: the words of the subjects.
    """
    names = tuple(word for one in subjects for word in (one.identifier, one.class_))
    for field, template in templates.items():
        for text in dict.fromkeys(fill_for_each(template, subjects)):
            yield Prompt(field, text, names)


def check(prompts: Iterable[Prompt], read_length: ReadLength) -> tuple[list[Problem], list[str]]:
    """Finds the prompts that the text encoder would truncate.

    Returns:
        A problem for each prompt that loses its identifier or class, and a warning for each other one.
    """
    problems, warnings = [], []
    for prompt in prompts:
        length = read_length(prompt.text)
        rest = prompt.text[length:].strip()
        if not rest:
            continue
        if lost := [name for name in dict.fromkeys(prompt.names) if _is_lost(name, prompt.text, length)]:
            names = " and ".join(map(repr, lost))
            message = (
                f"is longer than the text encoder reads, and loses {names}: it ends after {_end(prompt.text, length)}"
            )
            remedy = f"Shorten it, or move {names} to its beginning"
            problems.append(Problem(prompt.field, prompt.text, message, remedy))
        else:
            warnings.append(f"{prompt.field}: the text encoder cuts off {rest!r}; shorten the prompt")
    return problems, warnings


def _is_lost(name: str, text: str, length: int) -> bool:
    """Whether a name is in a text, but not completely within its first `length` characters."""
    end = end_of_mention(text, name)
    return end is not None and end > length


def _end(text: str, length: int) -> str:
    """The last words that are read."""
    return repr(" ".join(text[:length].split()[-3:]))
