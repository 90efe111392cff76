"""What prompts are made of: placeholders and words."""

import re
from collections.abc import Sequence


def fill(prompt: str, *, identifier: str, class_: str) -> str:
    """A prompt with its placeholders `{identifier}` and `{class}` replaced."""
    return prompt.format_map({"identifier": identifier, "class": class_})


def end_of_mention(text: str, name: str) -> int | None:
    """Where a text has first named something, as words of its own, in any case: the characters up to there; None: nowhere."""
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
    return found.end() if found else None


def mentions(text: str, name: str) -> bool:
    """Whether a text has a name as words of its own, in any case."""
    return end_of_mention(text, name) is not None


def words_of(*texts: str) -> set[str]:
    """The words of some texts, in lower case; placeholders are none."""
    return {word for text in texts for word in re.findall(r"\w+", re.sub(r"\{\w*\}", " ", text.lower()))}


def read_length(prompt: str, spans: Sequence[tuple[int, int]], room: int) -> int:
    """How many characters of a prompt, from its beginning, a text encoder reads.

    Args:
        prompt: the prompt.
        spans: for each of its tokens, the characters from which to which it reaches.
        room: tokens that the text encoder reads.
    """
    return len(prompt) if len(spans) <= room else spans[room - 1][1]
