"""Results of finished phases on disk, each with a digest of its input, so that a restart can skip them. Used by
`pipeline.py`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dreambooth_api.failures import Problem
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.process.storage import digest_of, write_json

Result = TypeVar("Result", bound=BaseModel)

MODEL, CLASS_IMAGES = "spec.model", "spec.prior.source"
"""Fields that count by the content of their files, not by the names in the manifest; so do those of photos."""

NEWER_DEFAULTS: Mapping[str, Any] = {
    "spec.subject.captionDropout": 0,
    "spec.subject.mask": "ignore",
    "spec.subject.crop": "center",
    CLASS_IMAGES: None,
    "spec.training.lora.useDora": False,
    "spec.training.quantization": "none",
    "spec.training.stopping": "last",
}
"""Settings that earlier versions did not have, with the values that mean what those did: their runs can be resumed."""

STEPS = "spec.training.steps"
"""The setting that may change during a run: it can rise."""

PREPARED = ("spec.model", "spec.subject.", "spec.subjects[", "spec.training.resolution")
"""Fields that the identifiers and the cropped photos depend on."""


@dataclass(frozen=True)
class Ledger:
    """The results of a run's finished phases, one JSON file each."""

    folder: Path

    def record(
        self, phase: str, key: str, result: BaseModel, seconds: Mapping[str, float], memory: Mapping[str, int]
    ) -> None:
        """Records a finished phase, and how long it and the phases that only it needs took, and how many bytes."""
        content = {"key": key, "seconds": dict(seconds), "memory": dict(memory)}
        write_json(self.folder / f"{phase}.json", {**content, "result": result.model_dump(mode="json")})

    def recall(self, phase: str, key: str, kind: type[Result]) -> Result | None:
        """The result of a phase, if it is finished and its key is the same."""
        entry = self._read(phase)
        if entry.get("key") != key:
            return None
        try:
            return kind.model_validate(entry["result"])
        except ValidationError:
            return None

    def latest(self, phase: str, kind: type[Result]) -> Result | None:
        """The result of a phase, if it has been finished with any input."""
        return self.recall(phase, self._read(phase).get("key", ""), kind)

    def has(self, phase: str) -> bool:
        """Whether a phase has been finished, with any input."""
        return bool(self._read(phase))

    def rename(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Replaces the keys of recorded phases: a key of `before` becomes the key of `now`."""
        for phase, key in before.items():
            entry = self._read(phase)
            if entry.get("key") == key:
                write_json(self.folder / f"{phase}.json", {**entry, "key": now[phase]})

    def seconds(self) -> dict[str, float]:
        """How long each phase took, in the start that finished it."""
        return self._of_phases("seconds")

    def memory(self) -> dict[str, int]:
        """How many bytes each phase took, in the start that finished it; see `Progress.memory`."""
        return self._of_phases("memory")

    def _of_phases(self, name: str) -> dict[str, Any]:
        entries = (self._read(path.stem) for path in self.folder.glob("*.json"))
        return {phase: value for entry in entries for phase, value in entry.get(name, {}).items()}

    def _read(self, phase: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / f"{phase}.json").read_text()))
        except (OSError, ValueError):
            return {}


@dataclass(frozen=True)
class Content:
    """Digests of the files that a manifest names. They identify a run, whatever the paths of its files."""

    model: str
    """See `models.identity.Identity`."""
    photos: Sequence[Sequence[str]]
    """For each subject, what identifies every photo; see `data.photos.identities`."""
    clip_scorer: str | None
    """SHA-256 of the files of the CLIP scorer; None without an evaluation."""
    class_images: Sequence[str] = ()
    """SHA-256 of every own class image that is used."""


def what_determines_the_weights(config: TrainConfig, content: Content) -> dict[str, Any]:
    """All settings and digests that a trained model depends on, by field path (`spec.training.steps`)."""
    sections = config.model_dump(mode="json", by_alias=True, include={"prior", "training"})
    sections["prior"]["source"] = sorted(content.class_images) or None
    photos = [sorted(of_subject) for of_subject in content.photos]
    return _settings({"model": content.model, **_subjects(config, photos), **sections})


def _subjects(config: TrainConfig, photos: Sequence[Any]) -> dict[str, Any]:
    """The sections of the subjects, with what identifies the photos instead of their places and captions."""
    return {
        place: {**one.model_dump(mode="json", by_alias=True, exclude={"captions"}), "images": identities}
        for (place, one), identities in zip(config.all_subjects.items(), photos, strict=True)
    }


def _settings(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their paths, without those that have a newer default."""
    flat = _flat("spec", dict(sections))
    return {path: value for path, value in flat.items() if NEWER_DEFAULTS.get(path, ...) != value}


def phase_keys(config: TrainConfig, content: Content) -> dict[str, str]:
    """For each recorded phase a digest of all that determines its output."""
    return _keys(config, what_determines_the_weights(config, content), {"encoder": content.clip_scorer})


def export_key(config: TrainConfig, determined: Mapping[str, Any]) -> str:
    """The key of the phase `export`.

    Args:
        config: the settings of the run.
        determined: what its weights depend on; see `what_determines_the_weights`.
    """
    return _keys(config, determined, {})["export"]


def _keys(config: TrainConfig, trained: Mapping[str, Any], scorer: Mapping[str, str | None]) -> dict[str, str]:
    sections = config.model_dump(mode="json", by_alias=True)
    # An upload is no part of it: a finished run can get one.
    exported = [trained, {"formats": sections["output"]["formats"]}]
    return {
        "prepare": digest_of({field: value for field, value in trained.items() if field.startswith(PREPARED)}),
        "train": digest_of(trained),
        # A choice is final: with another evaluation, the weights of the other steps would be needed, which are gone.
        "choose": digest_of(trained),
        "export": digest_of(exported),
        "sample": digest_of([exported, sections["samples"]]),
        "evaluate": digest_of([exported, sections["samples"], {**sections["evaluation"], **scorer}]),
    }


def asks_for_more_steps(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a manifest has more steps than the training in a folder."""
    return int(now[STEPS]) > int(before[STEPS])


def differences(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, *, continues: bool) -> list[Problem]:
    """One problem for each field in which a manifest differs from the training in a folder, and can't.

    Args:
        before: what determines the weights of the training.
        now: the same of the manifest.
        folder: folder of the run.
        continues: whether the training can go on from a checkpoint, or has not finished its steps.
    """
    old, new = {**NEWER_DEFAULTS, **before}, {**NEWER_DEFAULTS, **now}
    fields = (field for field in sorted({*before, *now}) if old.get(field) != new.get(field))
    return [
        _difference(field, old.get(field), new.get(field), folder)
        for field in fields
        if not (field == STEPS and continues and asks_for_more_steps(before, now))
    ]


def _difference(field: str, before: Any, now: Any, folder: Path) -> Problem:
    remedy = "Choose another output folder, or remove that one"
    if field == STEPS and now > before:
        message = f"can't continue the {before} steps of the run in {folder}, because no checkpoint of it is left"
        remedy = (
            f"Set it to {before} again. To train that model further, choose another output folder, and give the model as "
            "model.source. To continue such runs, set checkpoints.keepLast before they finish"
        )
        return Problem(field, now, message, remedy)
    if field == STEPS:
        remedy = f"Give {before} or more, or choose another output folder"
    return Problem(field, now, f"differs from the {before!r} of the run in {folder}", remedy)


class Beginning(BaseModel, frozen=True):
    """The settings and digests with which a run began. A folder holds one training."""

    determined: dict[str, Any]
    """What the weights depend on; see `what_determines_the_weights`."""
    model: str
    """Name of the base model in the manifest, with the commit if it comes from the hub."""

    @classmethod
    def of(cls, config: TrainConfig, content: Content, commit: str | None) -> "Beginning":
        """The beginning of a run that starts now."""
        source = config.model.source
        return cls(
            determined=what_determines_the_weights(config, content), model=f"{source} at {commit}" if commit else source
        )

    def problems(
        self, now: "Beginning", files: Mapping[str, Mapping[str, str]], folder: Path, *, continues: bool
    ) -> list[Problem]:
        """Reasons why a start can't continue the run in a folder: it would mix two trainings, or lose one.

        Args:
            now: this start.
            files: by the field of the manifest, what identifies every photo and own class image, by its name.
            folder: folder of the run.
            continues: see `differences`.
        """
        before, after = dict(self.determined), dict(now.determined)
        found = []
        remedy = "Choose another output folder, or restore the original files"
        if before.pop(MODEL, None) != after.pop(MODEL):
            message = f"is another model than the one, {self.model!r}, that the run in {folder} began with"
            at = ", or name its commit in model.revision" if " at " in self.model else ""
            found.append(Problem("spec.model.source", now.model, message, remedy + at))
        for field, digests in files.items():
            old, new = (Counter(one.pop(field, None) or ()) for one in (before, after))
            if old != new:
                names = sorted(name for name, digest in digests.items() if digest in new - old)
                lost = (old - new).total()
                pictures = "class images" if field == CLASS_IMAGES else "photos, with their captions and masks,"
                message = (
                    f"are not among the {pictures} that the run in {folder} began with; {lost} of those are missing"
                )
                found.append(Problem(field, names, message, remedy))
        return [*found, *differences(before, after, folder, continues=continues)]


@dataclass(frozen=True)
class ByPath:
    """Records of version 0.1.0, which identified the base model and the CLIP scorer by their paths, and photos by their
    names."""

    config: TrainConfig
    photos: Mapping[str, str]
    """SHA-256 of every photo by its name."""

    @property
    def determined(self) -> dict[str, Any]:
        """The settings of the weights in such records."""
        sections = self.config.model_dump(mode="json", by_alias=True, include={"model", "prior", "training"})
        return _settings({**_subjects(self.config, [dict(self.photos)]), **sections})

    @property
    def keys(self) -> dict[str, str]:
        """The keys of the phases in such records."""
        return _keys(self.config, self.determined, {})


def _flat(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flat(f"{path}.{key}", inner).items()}
