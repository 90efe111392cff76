"""What prompts are made of: placeholders and words."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

ANY_SUBJECT = ("identifier", "class")
"""Placeholders for the words of any subject."""


class Words(NamedTuple):
    """The words that mean a subject."""

    identifier: str
    class_: str
    name: str = ""
    """Its name among several subjects."""

    def __str__(self) -> str:
        """The words as they stand in a prompt."""
        return f"{self.identifier} {self.class_}"


def fill(prompt: str, *, identifier: str, class_: str) -> str:
    """A prompt with its placeholders `{identifier}` and `{class}` replaced."""
    return prompt.format_map({"identifier": identifier, "class": class_})


def fill_for_each(prompt: str, subjects: Sequence[Words]) -> list[str]:
    """The prompts that a prompt with placeholders stands for.

    With `{identifier}` or `{class}`, these are prompts of all subjects. `{name}` stands for the words of the subject of that
    name.

    Args:
        prompt: the prompt.
        subjects: the words of one or more subjects.
    """
    each = subjects if placeholders(prompt) & set(ANY_SUBJECT) else subjects[:1]
    return [fill_for_one(prompt, one, subjects) for one in each]


def fill_for_one(prompt: str, subject: Words, subjects: Sequence[Words]) -> str:
    """A prompt of one subject, which may name the others: `{identifier}` and `{class}` stand for its own words, and `{name}` for
    those of the subject of that name.

    Args:
        prompt: the prompt.
        subject: the words of the subject.
        subjects: those of all subjects.
    """
    named = {one.name: str(one) for one in subjects}
    return prompt.format_map({**named, "identifier": subject.identifier, "class": subject.class_})


def placeholders(prompt: str) -> set[str]:
    """What stands in braces in a prompt."""
    return set(re.findall(r"\{([^{}]*)\}", prompt))


def enumerated(words: Iterable[str]) -> str:
    """The distinct ones of some words, with commas."""
    return ", ".join(dict.fromkeys(words))


def end_of_mention(text: str, name: str) -> int | None:
    """Where a text has first named something, as words of its own, in any case: the characters up to there; None: nowhere."""
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
    return found.end() if found else None


def mentions(text: str, name: str) -> bool:
    """Whether a text has a name as words of its own, in any case."""
    return end_of_mention(text, name) is not None


def words_of(*texts: str) -> set[str]:
    """The words of some texts, in lower case; placeholders are none."""
    return {word for text in texts for word in re.findall(r"\w+", re.sub(r"\{[-\w]*\}", " ", text.lower()))}


def read_length(prompt: str, spans: Sequence[tuple[int, int]], room: int) -> int:
    """How many characters of a prompt, from its beginning, a text encoder reads.

    Args:
        prompt: the prompt.
        spans: for each of its tokens, the characters from which to which it reaches.
        room: tokens that the text encoder reads.
    """
    return len(prompt) if len(spans) <= room else spans[room - 1][1]
