"""Icon sets of npm packages to drawings: which icons are taken, what they are called, how they are rendered.

Called by `prepare`. An icon is taken if its name belongs to a class, or if it depicts a thing (by its set's category)
and has an English label in Emojibase. Layout of `icons.json`: https://iconify.design/docs/types/iconify-json.html
"""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from emoji_recipe.drawings import About, Drawings
from emoji_recipe.vocabulary import CLASS_OF_NAME, SIDE, STYLES

CATEGORIES = {
    "Animals & Nature",
    "Nature",
    "Food & Drink",
    "Activities",
    "Objects",
    "Travel & Places",
    "Places",
    "Smileys & Emotion",
}
_VARIANTS = r"skin-tone|light-skin|dark-skin|medium-skin|-light$|-dark$"
_PEOPLE_AND_SIGNS = r"(^|-)(man|woman|person|men|women|people|family|oclock|thirty|button|arrow|sign)(-|$)"
_SYMBOLS = r"^flag|mahjong|suit$|^keycap|joker|playing-cards|heart"
UNWANTED = re.compile(f"{_VARIANTS}|{_PEOPLE_AND_SIGNS}|{_SYMBOLS}")
MIN_MEAN_ALPHA = 12
"""Fainter drawings (of 255) are blank or a few thin lines."""


def read_emojibase(node_modules: Path) -> list[dict[str, Any]]:
    """Emojibase's English entries, each with `label` and perhaps `tags`."""
    return json.loads((node_modules / "emojibase-data/en/data.json").read_text())


def read_icon_sets(node_modules: Path, emoji: list[dict[str, Any]]) -> Drawings:
    """Renders the wanted icons of all sets of `STYLES`; of identical pictures only the first is kept."""
    labels = {_letters(entry["label"]): entry["label"] for entry in emoji}
    images: dict[bytes, np.ndarray] = {}
    about = []
    for icon_set, style in STYLES.items():
        for name, label, svg in _wanted(node_modules / "@iconify-json" / icon_set, labels):
            rgba_HWC = render(svg)
            if rgba_HWC[..., 3].mean() < MIN_MEAN_ALPHA or rgba_HWC.tobytes() in images:
                continue
            images[rgba_HWC.tobytes()] = rgba_HWC
            about.append(About(label, CLASS_OF_NAME.get(name), style))
    return Drawings(np.stack(list(images.values())), about)


def render(svg: str) -> np.ndarray:
    """Rasterises an SVG to uint8 RGBA (SIDE, SIDE, 4)."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))
    return np.array(Image.open(BytesIO(png)).convert("RGBA"))


def _wanted(folder: Path, labels: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Name, caption label and SVG of each wanted icon of a set."""
    icon_set = json.loads((folder / "icons.json").read_text())
    categories = json.loads((folder / "metadata.json").read_text()).get("categories", {})
    depicts_thing = {name for category in CATEGORIES & categories.keys() for name in categories[category]}
    for name, icon in icon_set["icons"].items():
        label = labels.get(_letters(name))
        thing = label and name in depicts_thing and not UNWANTED.search(name)
        if icon.get("hidden") or len(name) < 2 or not (name in CLASS_OF_NAME or thing):
            continue
        yield name, _words(label or name), _svg(icon, icon_set)


def _svg(icon: dict[str, Any], icon_set: dict[str, Any]) -> str:
    """The complete SVG of an icon, square for any view box. The default is the view box of the set, or that of
    Iconify."""
    defaults = {"left": 0, "top": 0, "width": 16, "height": 16}
    view_box = " ".join(str(icon.get(key, icon_set.get(key, default))) for key, default in defaults.items())
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {namespaces} width="{SIDE}" height="{SIDE}" viewBox="{view_box}">{icon["body"]}</svg>'


def _letters(text: str) -> str:
    """Letters and digits only, so that "T-Rex", "t-rex" and "trex" match."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _words(text: str) -> str:
    """Lower-case words with single spaces between them, as in captions."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
