import pytest
from PIL import Image, ImageChops

from dreambooth_trainer.evaluation.contact_sheet import COLUMN_GAP, LINE, MARGIN, MAX_ROWS, Row, contact_sheet, tile

RED, BLUE = (214, 39, 40), (31, 79, 214)


def square(colour: tuple[int, int, int], side: int = 64) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


def test_columns_are_side_by_side_and_rows_below_each_other() -> None:
    sheet = contact_sheet([Row("first", ([square(RED)], [square(BLUE)]))] * 2, ("before", "after"), side=250)
    assert sheet.size == (2 * MARGIN + 500 + COLUMN_GAP, 2 * MARGIN + 3 * LINE + 500 + COLUMN_GAP)
    for y in (MARGIN + 2 * LINE + 125, MARGIN + 3 * LINE + 375 + COLUMN_GAP):
        assert sheet.getpixel((MARGIN + 125, y)) == RED
        assert sheet.getpixel((MARGIN + 375 + COLUMN_GAP, y)) == BLUE


def test_small_pictures_are_enlarged_and_wide_ones_cropped_in_the_middle() -> None:
    assert tile(square(RED, 8), 160).getbbox() == (0, 0, 160, 160)
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (100, 0, 200, 100))
    cropped = tile(wide, 50)
    assert [cropped.getpixel((x, 25)) for x in (5, 25, 45)] == [BLUE] * 3


def test_only_the_first_pictures_of_a_column_are_shown() -> None:
    few = contact_sheet([Row("a dog", ([square(RED)] * 3,))], per_column=3)
    many = contact_sheet([Row("a dog", ([square(RED)] * 64,))], per_column=3)
    assert ImageChops.difference(few, many).getbbox() is None


def test_rows_of_different_length() -> None:
    rows = [Row("one", ([square(RED)],)), Row("three", ([square(RED)], [square(BLUE)] * 3))]
    sheet = contact_sheet(rows, side=150)
    assert sheet.getpixel((sheet.width - MARGIN - 75, sheet.height - MARGIN - 75)) == BLUE


def test_fifty_rows_fit_and_further_rows_are_omitted() -> None:
    assert contact_sheet([Row("a dog", ([square(RED)],))] * 50).height < 16_383
    rows = [Row("a dog", ([square(RED)],))] * (MAX_ROWS + 5)
    assert contact_sheet(rows).size == contact_sheet(rows[:MAX_ROWS]).size


@pytest.mark.parametrize("label", ["", "a dog\non the beach", "ein Hündchen 🐶 在海滩上", "x" * 500])
def test_labels_never_reach_into_the_margins(label: str) -> None:
    sheet = contact_sheet([Row(label, ([square(RED)],))])
    paper = Image.new("RGB", sheet.size, "white")
    left, top, right, bottom = ImageChops.difference(sheet, paper).getbbox() or (0, 0, 0, 0)
    assert left >= MARGIN - 1  # The overhang of a glyph.
    assert top >= MARGIN
    assert right <= sheet.width - MARGIN
    assert bottom == sheet.height - MARGIN


def test_labels_are_legible() -> None:
    plain = contact_sheet([Row("", ([square(RED)],))])
    labelled = contact_sheet([Row("a dog", ([square(RED)],))])
    box = ImageChops.difference(plain, labelled).getbbox()
    assert box is not None
    assert box[3] - box[1] >= 14
