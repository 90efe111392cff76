"""Captions describe their layouts, with the documented frequencies."""

import random
import re

import pytest

from emoji_recipe.captions import NONE, P_EMPTY, Catalogue, Layout, invent, with_article
from emoji_recipe.drawings import About
from emoji_recipe.vocabulary import CLASS_OF_NAME, COLOURS, HUES, SCENES

ABOUT = [About("poodle", "dog", "noto"), About("ant", "insect", "blob"), About("anchor", None, "twemoji")]
GRAMMAR = re.compile(
    rf"(?P<article>an?) ((?P<hue>{'|'.join(HUES)}) )?(?P<noun>poodle|dog|ant|insect|anchor)"
    r"( next to (?P<companion>a dog|an insect))?( in (?P<style>\w+) style)?"
    rf"( on an? (?P<background>{'|'.join(COLOURS)}) background| (?P<scene>{'|'.join(SCENES.values())}))?"
)


@pytest.fixture(scope="module")
def invented() -> list[tuple[Layout, str]]:
    catalogue, rng = Catalogue(ABOUT, [0.9, 0.1, 0.9]), random.Random(0)
    return [invent(catalogue, rng) for _ in range(4000)]


def test_captions_describe_their_layouts(invented: list[tuple[Layout, str]]) -> None:
    for layout, caption in filter(lambda pair: pair[1], invented):
        said = GRAMMAR.fullmatch(caption)
        assert said, caption
        about = ABOUT[layout.drawing]
        assert said["noun"] in (about.label, about.kind)
        assert said["style"] in (None, about.style)
        assert said["hue"] == (None if layout.hue == NONE else list(HUES)[layout.hue])
        assert said["scene"] == (None if layout.scene == NONE else list(SCENES.values())[layout.scene])
        assert said["background"] in (None, list(COLOURS)[layout.background])
        companion = None if layout.companion == NONE else with_article(ABOUT[layout.companion].kind or "")
        assert said["companion"] == companion


def test_a_share_of_captions_is_empty(invented: list[tuple[Layout, str]]) -> None:
    empty = sum(not caption for _, caption in invented) / len(invented)
    assert empty == pytest.approx(P_EMPTY, abs=0.02)


def test_pale_pictures_keep_their_hue(invented: list[tuple[Layout, str]]) -> None:
    assert {layout.hue for layout, _ in invented if layout.drawing == 1} == {NONE}
    assert {layout.hue for layout, _ in invented if layout.drawing == 0} == {NONE, *range(len(HUES))}


def test_companions_have_a_class(invented: list[tuple[Layout, str]]) -> None:
    assert {layout.companion for layout, _ in invented} == {NONE, 0, 1}


def test_article_follows_the_sound() -> None:
    assert [with_article(noun) for noun in ("orange dog", "dog")] == ["an orange dog", "a dog"]


def test_a_name_of_two_classes_belongs_to_the_first() -> None:
    assert CLASS_OF_NAME["jack-o-lantern"] == "lamp"
