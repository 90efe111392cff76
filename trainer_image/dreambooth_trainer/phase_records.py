"""Results of finished phases on disk, each with a digest of what determined it: what a restart skips. Used by `pipeline.py`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dreambooth_api.failures import Problem
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.process.storage import digest_of, write_json

Result = TypeVar("Result", bound=BaseModel)

PREPARED = ("spec.model.", "spec.subject.", "spec.training.resolution")
"""Fields that the identifier and the cropped photos depend on."""


@dataclass(frozen=True)
class Ledger:
    """The results of a run's finished phases, one JSON file each."""

    folder: Path

    def record(self, phase: str, key: str, result: BaseModel, seconds: Mapping[str, float]) -> None:
        """Remembers that a phase is finished, and how long it and those that only it needs took."""
        write_json(
            self.folder / f"{phase}.json",
            {"key": key, "seconds": dict(seconds), "result": result.model_dump(mode="json")},
        )

    def recall(self, phase: str, key: str, kind: type[Result]) -> Result | None:
        """The result of a phase, if it is finished and was determined by the same things."""
        entry = self._read(phase)
        if entry.get("key") != key:
            return None
        try:
            return kind.model_validate(entry["result"])
        except ValidationError:
            return None

    def seconds(self) -> dict[str, float]:
        """How long each phase took, in the start that finished it."""
        entries = (self._read(path.stem) for path in self.folder.glob("*.json"))
        return {phase: seconds for entry in entries for phase, seconds in entry.get("seconds", {}).items()}

    def _read(self, phase: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / f"{phase}.json").read_text()))
        except (OSError, ValueError):
            return {}


def what_determines_the_weights(config: TrainConfig, photos: dict[str, str]) -> dict[str, Any]:
    """All that a trained model depends on, by field path (`spec.training.steps`).

    Args:
        config: the manifest.
        photos: SHA-256 of every photo by name: it is the pictures that matter, not where they are.
    """
    sections = config.model_dump(mode="json", by_alias=True, include={"model", "subject", "prior", "training"})
    sections["subject"]["images"] = photos
    return _flat("spec", sections)


def phase_keys(config: TrainConfig, photos: dict[str, str]) -> dict[str, str]:
    """For each recorded phase a digest of all that determines its output."""
    sections = config.model_dump(mode="json", by_alias=True)
    trained = what_determines_the_weights(config, photos)
    exported = [trained, sections["output"]]
    return {
        "prepare": digest_of({field: value for field, value in trained.items() if field.startswith(PREPARED)}),
        "train": digest_of(trained),
        "export": digest_of(exported),
        "sample": digest_of([exported, sections["samples"]]),
        "evaluate": digest_of([exported, sections["samples"], sections["evaluation"]]),
    }


def differences(before: dict[str, Any], now: dict[str, Any], folder: Path) -> list[Problem]:
    """One problem for each field in which a manifest differs from the training that a folder already holds."""
    return [
        Problem(
            field,
            now.get(field),
            f"differs from the {before.get(field)!r} of the run in {folder}",
            "Choose another output folder, or remove that one",
        )
        for field in sorted({*before, *now})
        if before.get(field) != now.get(field)
    ]


def _flat(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flat(f"{path}.{key}", inner).items()}
