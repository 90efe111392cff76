"""Contact sheets: pictures in labelled rows, as one picture; drawn by the phases that make pictures for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

INK, FAINT, PAPER = "#1c1e21", "#6b7280", "#ffffff"
GAP, COLUMN_GAP, MARGIN = 4, 28, 24
LABEL_SIZE, HEADING_SIZE, LINE = 20, 18, 28
MIN_WIDTH = 480
"""Pixels that labels have at least, however few the pictures."""
MAX_ROWS = 60
"""A taller sheet than this would be cut by viewers and exceed what picture formats hold."""


@dataclass(frozen=True)
class Row:
    """One labelled row of a sheet."""

    label: str
    columns: Sequence[Sequence[Image.Image]]
    """Pictures of each column, such as those before and those after training."""


def contact_sheet(
    rows: Sequence[Row], headings: Sequence[str] = (), *, side: int = 160, per_column: int = 4
) -> Image.Image:
    """One picture of all rows; smaller pictures than `side` are enlarged, so that a person sees something.

    Args:
        rows: what to show; of more than `MAX_ROWS` the first ones.
        headings: of the columns, such as `("before", "after")`; none for a single column.
        side: pixels of a side of each picture.
        per_column: pictures that stand side by side in a column; of more pictures the first ones are shown.
    """
    rows = rows[:MAX_ROWS]
    columns = max(len(row.columns) for row in rows)
    counts = [
        min(per_column, max(len(row.columns[column]) for row in rows if column < len(row.columns)))
        for column in range(columns)
    ]
    widths = [count * (side + GAP) - GAP for count in counts]
    lefts = [MARGIN + sum(widths[:column]) + column * COLUMN_GAP for column in range(columns)]
    top = MARGIN + (LINE if headings else 0)
    row_height = LINE + side + COLUMN_GAP
    size = (max(lefts[-1] + widths[-1] + MARGIN, MIN_WIDTH), top + len(rows) * row_height - COLUMN_GAP + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for left, heading in zip(lefts, headings, strict=False):
        draw.text((left, MARGIN), heading, fill=FAINT, font=ImageFont.load_default(HEADING_SIZE))
    for number, row in enumerate(rows):
        y = top + number * row_height
        label = _fitted(row.label, size[0] - 2 * MARGIN)
        draw.text((MARGIN, y), label, fill=INK, font=ImageFont.load_default(LABEL_SIZE))
        for left, images in zip(lefts, row.columns, strict=False):
            for position, image in enumerate(images[:per_column]):
                sheet.paste(tile(image, side), (left + position * (side + GAP), y + LINE))
    return sheet


def tile(image: Image.Image, side: int) -> Image.Image:
    """The middle square of a picture at `side` pixels."""
    return ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def _fitted(text: str, width: int) -> str:
    """A text cut off to a width in pixels. Line ends, which the font can't measure, become spaces."""
    text = " ".join(text.split())
    font = ImageFont.load_default(LABEL_SIZE)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
