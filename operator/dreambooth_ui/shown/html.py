"""Pieces of HTML, in which all text is text, whatever stands in manifests, messages and names of files."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from dreambooth_api.printing import printable


def text(content: object) -> Markup:
    """A text, with escapes for what is no visible character."""
    return escape(printable(str(content))).replace("\n", Markup("<br>"))


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A table; empty without rows."""
    lines = [_row("td", cells) for cells in rows]
    if not lines:
        return Markup()
    head = _row("th", header) if header else Markup()
    return Markup('<table class="shown">{}{}</table>').format(head, Markup().join(lines))


def bullets(items: Iterable[object], kind: str) -> Markup:
    """A list; empty without items.

    Args:
        items: what it lists.
        kind: class of the list in the style sheet.
    """
    lines = [Markup("<li>{}</li>").format(text(item)) for item in items]
    return Markup('<ul class="shown {}">{}</ul>').format(kind, Markup().join(lines)) if lines else Markup()


def paragraph(content: object, kind: str = "") -> Markup:
    """A paragraph; empty without text."""
    return Markup('<p class="{}">{}</p>').format(kind, text(content)) if content else Markup()


def document(content: str) -> Markup:
    """A document in a frame of its own, in which no script runs and which knows nothing of the page."""
    return Markup('<iframe class="shown" sandbox="" srcdoc="{}"></iframe>').format(content)


def _row(cell: str, contents: Sequence[object]) -> Markup:
    cells = (Markup(f"<{cell}>{{}}</{cell}>").format(text(one)) for one in contents)
    return Markup("<tr>{}</tr>").format(Markup().join(cells))
