"""Finds prompts that are longer than the text encoder reads. Called by `prepare` and by `generate`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dreambooth_api.failures import Problem
from dreambooth_api.prompts import end_of_mention, fill
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
    """Identifier and class: if one of them is in the text, the text encoder must read it."""


def prompts_of(config: TrainConfig, identifier: str, captions: Mapping[str, str]) -> Iterator[Prompt]:
    """All prompts of a run, phase by phase.

    Args:
        config: the settings.
        identifier: the word that means the subject.
        captions: captions by the names of their photos.
    """
    class_, evaluation = config.subject.class_, config.evaluation
    templates = {"spec.subject.prompt": config.subject.prompt}
    templates |= {f"spec.subject.images, caption of {photo}": text for photo, text in captions.items()}
    if config.prior.enabled:
        templates["spec.prior.prompt"] = config.prior.prompt
    templates |= {f"spec.samples.prompts[{number}]": text for number, text in enumerate(config.samples.prompts)}
    for field, template in templates.items():
        yield Prompt(field, fill(template, identifier=identifier, class_=class_), (identifier, class_))
    if evaluation.enabled:
        for number, context in enumerate(evaluation.contexts):
            text = f"a {identifier} {class_} {context}"
            yield Prompt(f"spec.evaluation.contexts[{number}]", text, (identifier, class_))
        for number, other in enumerate(evaluation.other_classes):
            yield Prompt(f"spec.evaluation.otherClasses[{number}]", f"a {other}", (other,))


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
        if lost := [name for name in prompt.names if _is_lost(name, prompt.text, length)]:
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
