"""The form of a new job, as the arguments of `AsyncDreamBooth.check` and `submit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dreambooth_ui.shown.photos import Crop

MODELS = (
    "hf://stable-diffusion-v1-5/stable-diffusion-v1-5",
    "hf://stabilityai/stable-diffusion-xl-base-1.0",
    "hf://stabilityai/stable-diffusion-3.5-medium",
    "hf://black-forest-labs/FLUX.1-dev",
    "hf://black-forest-labs/FLUX.2-klein-base-4B",
    "hf://Tongyi-MAI/Z-Image",
    "hf://lodestones/Chroma1-HD",
    "hf://Qwen/Qwen-Image-2512",
    "hf://krea/Krea-2-Raw",
    "embedded://emoji",
)
"""The base models of the examples; any other source can be written."""

CLASSES = "dog", "cat", "person", "toy", "backpack", "teapot", "vase", "shoe", "car"
"""Classes that base models know; any other word can be written."""


class Form(NamedTuple):
    """What stands in the form, in the order of its fields. None, 0 and empty texts: what the manifest has as its default."""

    photos: Sequence[str] | None
    class_: str | None
    name: str | None
    model: str | None
    method: str
    steps: int | None
    runtime: str | None
    gpus: int | None
    """0: none; None: on this machine, what it has."""
    crop: Crop
    identifier: str | None
    class_images: int | None
    batch_size: int | None
    learning_rate: float | None
    resolution: int | None
    every_steps: int | None
    prompts: str | None
    evaluate: bool

    @property
    def missing(self) -> str:
        """What has to be given before anything can be checked; empty if nothing."""
        if not self.photos:
            return "Add three to five photos of the subject."
        return "" if self.class_ else "Choose a class: what the subject is, in a word that the base model knows."

    def arguments(self) -> dict[str, Any]:
        """The arguments."""
        settings: dict[str, dict[str, Any]] = {
            "subject": {"crop": self.crop, "identifier": (self.identifier or "").strip()},
            "prior": {"images": self.class_images},
            "training": {
                "steps": self.steps,
                "batchSize": self.batch_size,
                "learningRate": self.learning_rate,
                "resolution": self.resolution,
            },
            "samples": {"prompts": lines(self.prompts), "everySteps": self.every_steps},
        }
        given = {name: {field: value for field, value in fields.items() if value} for name, fields in settings.items()}
        if not self.evaluate:
            given["evaluation"] = {"enabled": False}
        if self.gpus is not None:
            given["resources"] = {"gpusPerNode": self.gpus}
        return {
            "photos": [Path(photo) for photo in self.photos or ()],
            "class_": self.class_,
            "name": (self.name or "").strip() or None,
            "model": self.model or None,
            "method": self.method,
            "runtime": self.runtime or None,
            "settings": {name: fields for name, fields in given.items() if fields},
        }


def lines(text: str | None) -> list[str]:
    """The lines of a text that say anything."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()]
