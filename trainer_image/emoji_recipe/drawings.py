"""Rendered drawings and their descriptions: written by `icons`, read by the trainings."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class About:
    """Description of a drawing for captions: its label, its class (if it has one) and its style."""

    label: str
    kind: str | None
    style: str


@dataclass(frozen=True)
class Drawings:
    """N drawings: uint8 RGBA (N, SIDE, SIDE, 4), not premultiplied, and the words for each."""

    rgba_NHWC: np.ndarray
    about: list[About]

    def save(self, folder: Path) -> None:
        """Writes `images.npz` and `drawings.json` into a folder, which is created if necessary."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "images.npz", rgba=self.rgba_NHWC)
        (folder / "drawings.json").write_text(json.dumps([asdict(each) for each in self.about]))

    @classmethod
    def load(cls, folder: Path) -> "Drawings":
        """Reads what `save` wrote."""
        about = [About(**each) for each in json.loads((folder / "drawings.json").read_text())]
        return cls(np.load(folder / "images.npz")["rgba"], about)
