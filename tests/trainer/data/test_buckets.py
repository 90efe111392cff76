"""Tests of dreambooth_trainer.data.buckets."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_trainer.data.buckets import bucket_of, deal, kept

PAGE = Path(__file__).parents[3] / "docs" / "photos.md"

sides = st.integers(1, 10_000)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.mark.parametrize(
    ("photo", "bucket"),
    [
        ((3000, 4000), (896, 1152)),
        ((2000, 3000), (832, 1216)),
        ((1920, 1080), (1344, 768)),
        ((999, 1000), (1024, 1024)),
        ((100, 900), (704, 1408)),
    ],
)
def test_buckets_are_those_of_sdxl(photo: tuple[int, int], bucket: tuple[int, int]) -> None:
    """Table of appendix I of its paper, for these shapes."""
    assert bucket_of(photo, 1024, 8) == bucket


def test_the_documented_buckets_are_these() -> None:
    rows = re.findall(
        r"^\| (\d+):(\d+) \| (\d+) x (\d+) \| (\d+) x (\d+) \| (\d+) % \|", PAGE.read_text(), re.MULTILINE
    )
    assert len(rows) == 5
    for row in rows:
        width, height, *documented = map(int, row)
        at_512, at_1024 = (bucket_of((width, height), resolution, 16) for resolution in (512, 1024))
        assert [*at_512, *at_1024, round(100 * kept((width, height), at_1024))] == documented


@given(sides, sides, st.integers(2, 60), st.sampled_from([8, 16, 32]))
def test_a_bucket_fits_the_model_and_the_memory_of_a_square(width: int, height: int, sides: int, multiple: int) -> None:
    resolution = sides * multiple
    wide, high = bucket_of((width, height), resolution, multiple)
    assert wide % multiple == high % multiple == 0
    assert wide * high <= resolution**2 and max(wide, high) <= 2 * min(wide, high)
    assert kept((width, height), (wide, high)) >= kept((width, height), (resolution, resolution))
    assert bucket_of((height, width), resolution, multiple) == (high, wide) or width == height


@given(st.integers(100, 200), st.sampled_from([512, 768, 1024]))
def test_nearly_all_of_usual_shapes_is_kept(width: int, resolution: int) -> None:
    photo = width, 100
    assert kept(photo, bucket_of(photo, resolution, 16)) > 0.91


@given(st.lists(sizes, min_size=1, max_size=8), st.integers(1, 60))
def test_class_images_have_the_sizes_of_the_photos_in_their_proportions(
    photos: list[tuple[int, int]], count: int
) -> None:
    dealt = deal(photos, count)
    assert len(dealt) == count and deal(photos, count + 7)[:count] == dealt
    assert Counter(deal(photos, 10 * len(photos))) == {size: 10 * times for size, times in Counter(photos).items()}
    distinct = len(set(photos))
    assert len(set(dealt)) == min(distinct, count)
