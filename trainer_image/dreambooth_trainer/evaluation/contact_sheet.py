"""Contact sheets: one picture with labelled rows of pictures. Made by the phases that generate pictures for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

INK, FAINT, PAPER = "#1c1e21", "#6b7280", "#ffffff"
GAP, COLUMN_GAP, MARGIN = 4, 28, 24
LABEL_SIZE, HEADING_SIZE, LINE = 20, 18, 28
MIN_WIDTH = 480
"""Least width of a sheet in pixels, so that labels fit."""
MAX_ROWS = 60
"""Image viewers truncate taller sheets, and picture formats have a limit."""


@dataclass(frozen=True)
class Row:
    """One labelled row of a sheet."""

    label: str
    columns: Sequence[Sequence[Image.Image]]
    """Pictures of each column, such as those before and after training."""


def contact_sheet(
    rows: Sequence[Row], headings: Sequence[str] = (), *, side: int = 160, per_column: int = 4
) -> Image.Image:
    """One picture of all rows. Pictures that are smaller than `side` are enlarged.

    Args:
        rows: the rows; only the first `MAX_ROWS` are shown.
        headings: of the columns, such as `("before", "after")`; none for a single column.
        side: side of each picture in pixels.
        per_column: most pictures in a row of a column; only the first ones are shown.
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
    """A text truncated to a width in pixels. Line breaks, which the font can't measure, become spaces."""
    text = " ".join(text.split())
    font = ImageFont.load_default(LABEL_SIZE)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
