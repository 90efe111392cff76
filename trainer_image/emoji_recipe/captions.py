"""Random captions, each with the layout of the picture that it describes.

The trainings sample batches from a `Pool` of them; `compose` makes the pictures. The grammar of a caption is

    a [colour] <class or label> [next to a <class>] [in <style> style] [on a <colour> background | <scene>]

Parts that a caption does not name are random in the picture, so that the model learns to vary them.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from emoji_recipe.drawings import About
from emoji_recipe.vocabulary import CLASSES, COLOURS, HUES, SCENES

NONE = -1
"""In a layout: no scene, the drawing's own hue, or no companion."""

MIN_SATURATION = 0.22
"""A shift of the hue is hardly visible in drawings with less saturation."""

P_OF_CLASS = 0.65
P_CLASS_AS_NOUN = 0.6
P_COLOUR = 0.2
P_COMPANION = 0.1
P_STYLE = 0.35
P_NAMED_BACKGROUND = 0.35
P_SCENE = 0.25
P_UNNAMED_BACKGROUND = 0.3
"""Chance that a picture without a named background or scene has a coloured background; else it is white."""
P_EMPTY = 0.08
"""Chance of an empty caption, which classifier-free guidance (Ho and Salimans, 2022) needs."""


class Layout(NamedTuple):
    """Numbers of the drawing, background colour, scene, hue and companion drawing of one picture."""

    drawing: int
    background: int
    scene: int
    hue: int
    companion: int


class Catalogue:
    """The drawings by class, for random selection: the weight of a class is the square root of its size."""

    def __init__(self, about: list[About], saturation_N: list[float]) -> None:
        self.about = about
        self.saturation = saturation_N
        kinds = {kind: [i for i, each in enumerate(about) if each.kind == kind] for kind in CLASSES}
        self._of_class = [members for members in kinds.values() if members]
        self._weights = [len(members) ** 0.5 for members in self._of_class]
        self._others = [i for i, each in enumerate(about) if each.kind is None]
        if not self._of_class or not self._others:
            raise ValueError("captions need both drawings of a class and drawings of none")

    def of_class(self, rng: random.Random) -> int:
        """A random drawing that has a class."""
        return rng.choice(rng.choices(self._of_class, self._weights)[0])

    def any(self, rng: random.Random) -> int:
        """A random drawing; most have a class."""
        return self.of_class(rng) if rng.random() < P_OF_CLASS else rng.choice(self._others)


def invent(catalogue: Catalogue, rng: random.Random) -> tuple[Layout, str]:
    """A random layout and its caption."""
    drawing = catalogue.any(rng)
    about = catalogue.about[drawing]
    noun = about.kind if about.kind and rng.random() < P_CLASS_AS_NOUN else about.label
    hue, background, scene, companion = NONE, list(COLOURS).index("white"), NONE, NONE
    if catalogue.saturation[drawing] > MIN_SATURATION and rng.random() < P_COLOUR:
        hue = rng.randrange(len(HUES))
        noun = f"{list(HUES)[hue]} {noun}"
    words = [with_article(noun)]
    if rng.random() < P_COMPANION:
        companion = catalogue.of_class(rng)
        words.append(f"next to {with_article(catalogue.about[companion].kind or '')}")
    if rng.random() < P_STYLE:
        words.append(f"in {about.style} style")
    chance = rng.random()
    if chance < P_NAMED_BACKGROUND:
        background = rng.randrange(len(COLOURS))
        words.append(f"on {with_article(list(COLOURS)[background])} background")
    elif chance < P_NAMED_BACKGROUND + P_SCENE:
        scene = rng.randrange(len(SCENES))
        words.append(list(SCENES.values())[scene])
    elif rng.random() < P_UNNAMED_BACKGROUND:
        background = rng.randrange(len(COLOURS))
    caption = "" if rng.random() < P_EMPTY else " ".join(words)
    return Layout(drawing, background, scene, hue, companion), caption


def with_article(noun: str) -> str:
    """Prefixes "a", or "an" before a vowel letter."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


@dataclass(frozen=True)
class Pool:
    """Layouts (N, 5) and the token ids of their captions (N, L), int16 on the training device.

    Captions are tokenised in advance, since a GPU composes pictures faster than a CPU tokenises captions.
    """

    layouts_N5: Tensor
    token_ids_NL: Tensor

    @classmethod
    def invent(
        cls, catalogue: Catalogue, tokenizer: CLIPTokenizer, size: int, device: torch.device, seed: int
    ) -> "Pool":
        """A pool of random captions; the same seed gives the same pool."""
        rng = random.Random(seed)
        layouts, captions = zip(*(invent(catalogue, rng) for _ in range(size)), strict=True)
        ids = tokenizer(list(captions), padding="max_length", truncation=True)["input_ids"]
        return cls(
            torch.tensor(layouts, dtype=torch.int16, device=device), torch.tensor(ids, dtype=torch.int16, device=device)
        )

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Random layouts (count, 5) and token ids (count, L), int64."""
        rows = torch.randint(len(self.layouts_N5), (count,), device=self.layouts_N5.device)
        return self.layouts_N5[rows].long(), self.token_ids_NL[rows].long()

    def captioned(self, padding_id: int) -> "Pool":
        """The entries whose caption is not empty. CLIP pads with the end token, so an empty caption is start and
        padding."""
        says_something = (self.token_ids_NL != padding_id).sum(1) > 1
        return Pool(self.layouts_N5[says_something], self.token_ids_NL[says_something])
