"""The result of a run, made of the results of its phases: `result.json` for programs and `report.html` for people."""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.progress import PHASES, JsonModel
from dreambooth_api.prompts import fill, fill_for_one
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.choice import Choice, weakest
from dreambooth_trainer.evaluation.figures import Figures
from dreambooth_trainer.phase_records import Ledger, Result
from dreambooth_trainer.phases import evaluate, export, prepare, sample, train
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import digest_of, write_atomically
from dreambooth_trainer.report import ReportData, ReportedSubject, write_report
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.training.loss_curve import read_losses

LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "deepspeed",
    "accelerate",
    "peft",
    "safetensors",
    "dreambooth-operator",
)


FOLDER = "--run"
"""Field of the problems of a run's folder: an option of `scene.py`."""


class BaseModelUsed(JsonModel):
    """The base model."""

    source: str
    commit: str | None
    """Commit of the hub repository that it came from."""
    digest: str
    """SHA-256 of its content."""


class SubjectResult(JsonModel):
    """One of several subjects."""

    name: str
    class_: Annotated[str, Field(alias="class")]
    identifier: str
    prompt: str
    """Prompt for the subject."""
    figures: Figures | None
    """None if the evaluation is disabled."""
    nearest: dict[str, float] | None
    """Share of its pictures that are nearest to the photos of each subject, by name; None if the evaluation is disabled."""


class PhaseBytes(JsonModel):
    """Bytes of a phase on the device of the main process."""

    planned: int | None
    """The peak that `dreambooth plan` says; None on a CPU, and for a phase or a model that can't be planned."""
    measured: int
    """The most that PyTorch had allocated on the GPU; on a CPU the resident memory of the process, in which its libraries
    are, too."""


class RunResult(JsonModel):
    """The result of a finished run: the content of `result.json`."""

    schema_version: int = 1
    class_: Annotated[str, Field(alias="class")]
    """With several subjects, their classes."""
    identifier: str
    """With several subjects, their identifiers."""
    prompt: str
    """Prompt for the subject; with several subjects, that of each."""
    subjects: Annotated[list[SubjectResult] | None, Field(exclude_if=lambda subjects: subjects is None)] = None
    """Several subjects; None if there is only one."""
    model: BaseModelUsed
    training: train.Trained
    choice: Choice | None = None
    """The step whose weights became the model, and the figures of all that were compared; None if it is the last one without
    a choice."""
    class_images: int
    figures: Figures | None
    """With several subjects, those of the weakest one; None if the evaluation is disabled."""
    sheet: str | None
    """Contact sheet of the samples, relative to the folder of the run."""
    files: dict[str, str]
    """SHA-256 of each exported file, by its path in `model/`."""
    warnings: list[str]
    """Warnings about the figures, the photos, the identifier and the prompts."""
    device: str
    seconds: dict[str, float]
    """Duration of each phase in the start that finished it."""
    memory: Annotated[dict[str, PhaseBytes], Field(default_factory=dict)]
    """Memory of each phase in the start that finished it; empty in results up to version 0.1.0."""
    versions: dict[str, str]
    """Version of each library."""
    settings: dict[str, Any]
    """The manifest's training sections with all defaults."""

    @property
    def config(self) -> TrainConfig:
        """The settings as an object."""
        return TrainConfig.model_validate(self.settings)

    @property
    def nearest_own(self) -> float | None:
        """The lowest share of pictures of a subject that are nearest to its own photos; None for a single subject, and without an
        evaluation."""
        return min((one.nearest[one.name] for one in self.subjects or () if one.nearest), default=None)

    @property
    def all_figures(self) -> dict[str, float]:
        """The figures that are defined, with several subjects `NAME/FIGURE`; empty without an evaluation."""
        of_subjects = {f"{one.name}/": one.figures for one in self.subjects} if self.subjects else {"": self.figures}
        return {
            f"{prefix}{name}": value
            for prefix, figures in of_subjects.items()
            if figures
            for name, value in figures.model_dump().items()
            if value is not None
        }

    @property
    def identifiers(self) -> list[str]:
        """The identifier of each subject."""
        return [one.identifier for one in self.subjects] if self.subjects else [self.identifier]

    @field_validator("settings")
    @classmethod
    def _only_what_the_trainer_reads(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Results up to version 0.1.0 hold the interval of checkpoints in steps, and those of `dreambooth run` the
        cluster's sections."""
        sections = {name: section for name, section in settings.items() if name in TrainConfig.model_fields}
        if "checkpoints" in sections:
            kept = {name: value for name, value in sections["checkpoints"].items() if name != "everySteps"}
            sections["checkpoints"] = kept
        TrainConfig.model_validate(sections)
        return sections

    def in_short(self) -> dict[str, float | str | None]:
        """The part of the result that fits into the termination message: paths relative to the folder of the run, and
        the figures."""
        diffusers = "diffusers" in self.settings["output"]["formats"]
        return {
            "identifier": self.identifier,
            "model": "model/diffusers" if diffusers else "model",
            "digest": digest_of(self.files),
            "sheet": self.sheet,
            "report": RunFolder(Path()).report.name,
            "step": self.choice.step if self.choice else self.training.steps,
            **(self.figures.model_dump() if self.figures else {}),
            **({} if self.nearest_own is None else {"nearest_own": self.nearest_own}),
        }


def write_result(run: Run, ledger: Ledger, keys: dict[str, str]) -> RunResult:
    """Writes `result.json` and `report.html`."""
    config = run.config
    prepared = _recall(ledger, keys, "prepare", prepare.Prepared)
    sampled = _recall(ledger, keys, "sample", sample.Sampled)
    seconds = ledger.seconds()
    evaluated = ledger.recall("evaluate", keys["evaluate"], evaluate.Evaluated) if config.evaluation.enabled else None
    choice = _recall(ledger, keys, "choose", Choice) if config.training.stopping == "best" else None
    result = RunResult(
        class_=", ".join(config.classes),
        identifier=", ".join(run.identifiers),
        prompt=", ".join(_prompts(run)),
        subjects=_subjects(run, evaluated) if config.subjects else None,
        model=BaseModelUsed(source=config.model.source, commit=run.base.commit, digest=run.base.digest),
        training=_recall(ledger, keys, "train", train.Trained),
        choice=choice,
        class_images=config.class_images,
        figures=weakest(evaluated.figures) if evaluated else None,
        sheet=sampled.sheet,
        files=_recall(ledger, keys, "export", export.Exported).files,
        warnings=[
            *(choice.warnings if choice else ()),
            *(evaluated.warnings if evaluated else ()),
            *prepared.warnings,
            *run.trackers.warnings,
        ],
        device=run.distributed.device_name,
        seconds={name: round(seconds[name], 1) for name in PHASES if name in seconds},
        memory=_memory(run, ledger.memory()),
        versions=versions(),
        settings=config.model_dump(mode="json", by_alias=True, exclude_none=True),
    )
    write_report(run.folder.report, _report(run, result, prepared, sampled, evaluated))
    write_atomically(run.folder.result, result.model_dump_json(indent=2) + "\n")
    return result


def _prompts(run: Run) -> list[str]:
    """The prompt for each subject."""
    subjects = zip(run.config.all_subjects.values(), run.words, strict=True)
    return [fill(one.prompt, identifier=words.identifier, class_=words.class_) for one, words in subjects]


def _subjects(run: Run, evaluated: evaluate.Evaluated | None) -> list[SubjectResult]:
    names = [one.name for one in run.words]
    return [
        SubjectResult(
            name=words.name,
            class_=words.class_,
            identifier=words.identifier,
            prompt=prompt,
            figures=evaluated.figures[number] if evaluated else None,
            nearest=dict(zip(names, evaluated.confusion[number], strict=True)) if evaluated else None,
        )
        for number, (words, prompt) in enumerate(zip(run.words, _prompts(run), strict=True))
    ]


def _memory(run: Run, measured: Mapping[str, int]) -> dict[str, PhaseBytes]:
    """Planned and measured bytes of the phases."""
    planned = planned_peaks(run.config, run.distributed)
    return {name: PhaseBytes(planned=planned.get(name), measured=measured[name]) for name in PHASES if name in measured}


def planned_peaks(config: TrainConfig, distributed: Distributed) -> dict[str, int]:
    """The plan of a run for its GPUs: most bytes of each phase. Empty on a CPU, and if the model can't be planned, such as a
    single file without a configuration."""
    if distributed.device.type != "cuda":
        return {}
    from dreambooth_trainer.planning.phases import Target
    from dreambooth_trainer.planning.plan import plan_memory

    try:
        phases = plan_memory(config, Target("cuda", distributed.size, distributed.memory))
    except Exception:
        # Whatever the reason is, a finished training must not fail for its plan.
        return {}
    return {phase.phase: phase.peak for phase in phases}


def read_result(path: Path) -> RunResult:
    """The result of a finished run.

    Raises:
        InvalidConfig: the file is missing or damaged, or another version of the trainer wrote it, with other settings.
    """
    try:
        return RunResult.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        cause = str(error).partition("\n")[0]
        remedy = "Give the folder of a finished run, or start the run again with this version"
        problem = Problem(FOLDER, str(path), f"can't be read as the result of a run: {cause}", remedy)
        raise InvalidConfig([problem]) from error


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a result depends on."""
    return {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}}


def _version(library: str) -> str:
    # A source tree has no version, and a finished training must not fail for that.
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _report(
    run: Run,
    result: RunResult,
    prepared: prepare.Prepared,
    sampled: sample.Sampled,
    evaluated: evaluate.Evaluated | None,
) -> ReportData:
    source, folder = result.model.source, run.folder.photos.relative_to(run.folder.root)
    names = [one.name for one in run.words]
    return ReportData(
        name=run.folder.root.name,
        folder=run.folder.root,
        subjects=[
            ReportedSubject(
                name=words.name,
                class_=words.class_,
                identifier=words.identifier,
                prompt=prompt,
                photos=[folder / photo.file for photo in prepared.photos if photo.subject == number],
                captions={
                    folder / photo.file: fill_for_one(photo.caption, words, run.words)
                    for photo in prepared.photos
                    if photo.caption and photo.subject == number
                },
                figures=evaluated.figures[number] if evaluated else None,
                nearest=dict(zip(names, evaluated.confusion[number], strict=True))
                if evaluated and len(names) > 1
                else {},
            )
            for number, (words, prompt) in enumerate(zip(run.words, _prompts(run), strict=True))
        ],
        base_model=f"{source} at {result.model.commit}" if result.model.commit else source,
        warnings=result.warnings,
        samples=sampled.prompts,
        comparisons=evaluated.comparisons if evaluated else [],
        losses=read_losses(run.folder.losses),
        choice=result.choice,
        settings=result.settings,
        versions=result.versions,
        device=result.device,
        timings=result.seconds,
        memory={name: (used.planned, used.measured) for name, used in result.memory.items()},
        exported=result.files,
    )


def _recall(ledger: Ledger, keys: dict[str, str], phase: str, kind: type[Result]) -> Result:
    found = ledger.recall(phase, keys[phase], kind)
    if found is None:
        raise FileNotFoundError(f"the result of phase {phase} has vanished from {ledger.folder}; start the run again")
    return found
