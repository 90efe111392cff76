"""What is shown of a scene."""

import json
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup

from dreambooth_client.seen import Seen
from dreambooth_client.words import details, why
from dreambooth_ui.shown.html import paragraph


def state(scene: Seen) -> Markup:
    """How far a scene is, and why it waits or has failed."""
    told = paragraph("   ".join([f"{scene.target.name}: {scene.phase}", *details(scene)]))
    return told + paragraph(why(scene), "message")


def captioned(pictures: Iterable[Path]) -> list[tuple[Path, str]]:
    """Pictures of a scene with their captions; without the contact sheet, which is made of them."""
    found = ((file, _settings(file)) for file in pictures)
    return [(file, f"{settings['prompt']}, seed {settings['seed']}") for file, settings in found if "seed" in settings]


def _settings(picture: Path) -> dict[str, object]:
    """The settings of a picture, from the JSON file of the same name."""
    try:
        found = json.loads(picture.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
