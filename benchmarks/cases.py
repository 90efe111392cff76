"""The programs, settings and cases of the fidelity benchmark. Used by `fidelity.py`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from benchmarks.programs import Base, Subject
from dreambooth_api.training import Evaluation, TrainConfig
from dreambooth_trainer.process.storage import digest_of

SETTINGS = Path(__file__).parent / "settings"

SAMPLES = {"steps": 12, "guidanceScale": 3}
"""Sampler settings for the pictures of all models, suitable for the embedded model."""


class Program(StrEnum):
    """A program that trains: this project's trainer with one of its methods, or diffusers' script."""

    FULL = "full"
    LORA = "lora"
    SCRIPT = "script"


@dataclass(frozen=True)
class Case:
    """One training and its evaluation."""

    program: Program
    subject: str
    seed: int
    prior: bool
    """Whether prior preservation is enabled."""

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.program}-{'prior' if self.prior else 'no-prior'}-{self.subject}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """The common settings of all cases."""

    base: Base
    per_prompt: int
    """Pictures of each prompt of the evaluation."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: read_settings(SETTINGS))
    """By program: sections of a manifest, and the `arguments` of the script."""

    def evaluation_config(self, case: Case) -> TrainConfig:
        """The configuration for the evaluation of a case, for any program."""
        return self._config(case, {"training": {}, "prior": {}})

    def trainer_config(self, case: Case, identifier: str) -> TrainConfig:
        """The configuration for the training of a case by this project's trainer, without pictures."""
        sections = self.settings[case.program]
        config = self._config(case, {"training": sections["training"], "prior": sections["prior"]})
        (subject,) = config.all_subjects.values()
        return config.with_subjects([subject.model_copy(update={"identifier": identifier})]).model_copy(
            update={
                "samples": config.samples.model_copy(update={"prompts": []}),
                "evaluation": Evaluation(enabled=False),
            }
        )

    def key(self, case: Case) -> str:
        """Digest of the settings that a result comes from."""
        config = self.evaluation_config(case).model_dump(mode="json", exclude={"subject": {"images"}, "subjects": True})
        return digest_of([config, self.settings[case.program]])

    def _config(self, case: Case, sections: Mapping[str, Mapping[str, Any]]) -> TrainConfig:
        common = {"seed": case.seed, "resolution": self.base.resolution, "mixedPrecision": self.base.precision}
        subject = Subject(case.subject)
        return TrainConfig.model_validate(
            {
                "model": {"source": self.base.source},
                "subject": {
                    "class": subject.class_,
                    "identifier": subject.identifier,
                    "images": {"path": str(subject.photos)},
                },
                "prior": sections["prior"] if case.prior else {"enabled": False},
                "training": {**sections["training"], **common},
                "samples": SAMPLES,
                "evaluation": {"perPrompt": self.per_prompt},
            }
        )


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """The settings of each program, from `<program>.yaml`."""
    return {program: yaml.safe_load((folder / f"{program}.yaml").read_text()) for program in Program}


def cases(
    programs: Iterable[Program], subjects: Iterable[str], seeds: Iterable[int], priors: Iterable[bool]
) -> list[Case]:
    """All combinations. The cases of the first seed come first."""
    return [
        Case(program, subject, seed, prior)
        for seed, subject, prior, program in product(seeds, subjects, priors, programs)
    ]
