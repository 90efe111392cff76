"""Foreign text on its way to a person: text of manifests, file names, models and libraries, which may hold anything.

A terminal obeys control characters, and a name with a line end looks like two messages. Markup is kept apart where it is written:
`rich.text.Text` on the console and jinja2 in the report take text as text.
"""

JOINER = "\u200d"
"""Joins emoji to one; nothing else happens where it stands."""


def printable(text: str) -> str:
    """A text of any number of lines, with escapes such as `\\x1b` for what is no visible character."""
    return "\n".join(map(one_line, text.split("\n")))


def one_line(text: str) -> str:
    """A text that stays in its line, with escapes such as `\\x1b` and `\\n` for what is no visible character."""
    return "".join(
        letter if letter.isprintable() or letter == JOINER else letter.encode("unicode_escape").decode()
        for letter in text
    )
