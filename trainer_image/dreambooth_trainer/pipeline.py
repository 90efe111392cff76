"""Runs the phases in order, skips those whose output is there, and writes the result at the end.

Called by `dreambooth run` and, in pods, by `python -m dreambooth_trainer`.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.fields import Fields
from dreambooth_api.progress import PhaseName
from dreambooth_trainer.data.own_class_images import own_class_images
from dreambooth_trainer.data.photos import identities
from dreambooth_trainer.evaluation.choice import Choice
from dreambooth_trainer.evaluation.clip import digest_of_clip_scorer
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.phase_records import (
    CLASS_IMAGES,
    Beginning,
    ByPath,
    Content,
    Ledger,
    asks_for_more_steps,
    differences,
    phase_keys,
)
from dreambooth_trainer.phases import cache, choose, evaluate, export, prepare, prior, sample, train
from dreambooth_trainer.process.storage import write_atomically, write_json
from dreambooth_trainer.result import RunResult, read_result, write_result
from dreambooth_trainer.run import Run
from dreambooth_trainer.training.candidates import Candidates
from dreambooth_trainer.training.checkpoints import keep_only_last, newest
from dreambooth_trainer.uploads.upload import upload

Result = TypeVar("Result", bound=BaseModel)


def run_phases(run: Run) -> dict[str, float | str | None]:
    """Runs the phases that are not finished yet.

    Returns:
        A short form of the result for the termination message; empty in all processes but the main one.

    Raises:
        TrainerFailure: in one of its classes; finished work is kept, and the next start continues from there.
    """
    config, distributed = run.config, run.distributed
    run.progress.update(
        device=distributed.device_name,
        total_steps=config.training.steps,
        class_images=config.class_images or None,
    )
    runner = PhaseRunner(run, Ledger(run.folder.state), _shared_keys(run))
    prepared = _prepare_and_train(run, runner)
    choice = _choose(run, runner)
    _export_and_evaluate(run, runner, prepared, choice)
    if not distributed.is_main:
        return {}
    result = _conclude(run, runner.ledger, runner.keys)
    url = upload(run, runner.ledger, result)
    return {**result.in_short(), **({"uploaded": url} if url else {})}


@dataclass(frozen=True)
class PhaseRunner:
    """The phases of a run, each of which runs only if its result is not on the disk. All processes take part."""

    run: Run
    ledger: Ledger
    keys: dict[str, str]
    """For each recorded phase the digest of all that determines its output."""

    def once(
        self, phase: PhaseName, kind: type[Result], output: Path, work: Callable[[], Result], *first: PhaseName
    ) -> Result:
        """Runs a phase, or returns its recorded result if its output is there.

        Args:
            phase: the phase.
            kind: class of its result.
            output: file or folder that the phase writes.
            work: runs the phase.
            first: phases that `work` runs before it, and that nothing else needs.
        """
        run = self.run
        finished = self._finished(phase, kind, output)
        if finished is not None:
            for skipped in (*first, phase):
                run.progress.skip(skipped)
            return finished
        if run.distributed.is_main:
            run.folder.complete.unlink(missing_ok=True)
        result = work()
        if run.distributed.is_main:
            phases = run.progress.snapshot().phases
            took: dict[str, float] = {
                one.name: one.seconds for one in phases if one.name in (*first, phase) and one.state == "done"
            }
            memory: dict[str, int] = {name: used for name, used in run.progress.memory().items() if name in took}
            self.ledger.record(phase, self.keys[phase], result, took, memory)
        return result

    def _finished(self, phase: PhaseName, kind: type[Result], output: Path) -> Result | None:
        """The recorded result of a phase, if its output is there.

        The main process decides: on a network file system, another node can see an older state of the folder.
        """
        distributed, result = self.run.distributed, None
        if distributed.is_main and output.exists():
            result = self.ledger.recall(phase, self.keys[phase], kind)
        return distributed.share(result)


def _prepare_and_train(run: Run, runner: PhaseRunner) -> prepare.Prepared:
    folder = run.folder
    prepared = runner.once("prepare", prepare.Prepared, folder.photos, lambda: prepare.prepare(run))
    run.identifiers = prepared.identifiers
    run.progress.update(identifier=", ".join(run.identifiers), warnings=prepared.warnings)
    run.distributed.barrier()
    trained = _model_or_weights(run, runner)
    runner.once("train", train.Trained, trained, lambda: _train(run, prepared), "prior", "cache")
    return prepared


def _model_or_weights(run: Run, runner: PhaseRunner) -> Path:
    """The exported model or, until it is exported, the weights to export: those of the chosen step, or of the last one."""
    ledger, keys, model = runner.ledger, runner.keys, run.folder.model
    # Once the model is exported, no phase needs the weights any more.
    if model.exists() and ledger.recall("export", keys["export"], export.Exported):
        return model
    chosen = ledger.recall("choose", keys["choose"], Choice)
    return _weights_of(run, chosen) if chosen else train.output(run)


def _weights_of(run: Run, choice: Choice | None) -> Path:
    """The folder of the weights that become the model."""
    return Candidates(run.folder.candidates).of(choice.step) if choice else run.folder.weights


def _choose(run: Run, runner: PhaseRunner) -> Choice | None:
    """The choice among steps; None without `training.stopping: best`.

    If the chosen weights are lost, and the training has not repeated them, the choice is among the others.
    """
    if run.config.training.stopping == "last":
        run.progress.skip("choose")
        return None
    run.distributed.barrier()
    choice = runner.once("choose", Choice, _model_or_weights(run, runner), lambda: choose.choose(run))
    if run.distributed.is_main and run.folder.candidates.exists():
        Candidates(run.folder.candidates).keep_only(choice.step)
    return choice


def _export_and_evaluate(run: Run, runner: PhaseRunner, prepared: prepare.Prepared, choice: Choice | None) -> None:
    folder = run.folder
    runner.once("export", export.Exported, folder.model, lambda: export.export(run, _weights_of(run, choice)))

    def load_trained() -> ModelFamily:
        return export.load_exported(run)

    runner.once("sample", sample.Sampled, folder.samples, lambda: sample.sample(run, load_trained))
    if run.config.evaluation.enabled:
        evaluated = runner.once(
            "evaluate", evaluate.Evaluated, folder.evaluation, lambda: evaluate.evaluate(run, load_trained)
        )
        own = [*(choice.warnings if choice else ()), *evaluated.warnings, *prepared.warnings]
        warnings = [*own, *run.trackers.warnings]
        run.progress.update(warnings=warnings)
    else:
        run.progress.skip("evaluate")


def _shared_keys(run: Run) -> dict[str, str]:
    """The keys of the phases. The main process computes them and identifies the base model for all processes."""
    distributed = run.distributed
    keys = _begin(run, Ledger(run.folder.state)) if distributed.is_main else {}
    if distributed.size > 1:
        distributed.connect()
        keys = distributed.share(keys)
        base = distributed.share(run.base if distributed.is_main else None)
        assert base is not None
        run.base = base
    return keys


def _train(run: Run, prepared: prepare.Prepared) -> train.Trained:
    if run.config.prior.enabled:
        class_images = prior.generate_class_images(run)
    else:
        class_images = None
        run.progress.skip("prior")
    run.distributed.barrier()
    return train.train(run, cache.make_datasets(run, prepared.photos, class_images))


def _conclude(run: Run, ledger: Ledger, keys: dict[str, str]) -> RunResult:
    """Returns the result, and writes it first unless it is there."""
    folder = run.folder
    if all(path.exists() for path in (folder.complete, folder.result, folder.report)):
        return read_result(folder.result)
    result = write_result(run, ledger, keys)
    figures = result.all_figures
    sheets = {path.name: path / "sheet.png" for path in (folder.samples, folder.evaluation)}
    shown = {name: path for name, path in sheets.items() if path.exists()}
    run.trackers.tell(lambda one: one.results(run.config.training.steps, figures, shown))
    # The weights are in the exported model now, and the pictures are in the report: the rest would only fill the
    # volume.
    kept = run.config.checkpoints.keep_last
    # With more steps, the choice is among the chosen weights and those of later steps.
    for leftover in (folder.weights, *(() if kept else (folder.candidates,)), folder.base_pictures, folder.hub):
        shutil.rmtree(leftover, ignore_errors=True)
    keep_only_last(folder.checkpoints, last=run.config.training.steps if kept else None)
    write_atomically(folder.complete, "")
    return result


def _begin(run: Run, ledger: Ledger) -> dict[str, str]:
    """Checks that the folder holds no other training, and returns the keys of the phases.

    Only the main process computes the digests of the models, which are large.
    """
    config, path = run.config, run.folder.state / "training.json"
    photos = {
        f"spec.{one.place}.images": identities(Path(one.fields["subject.images.path"] or ""), one.fields)
        for one in Fields(config.model_dump(by_alias=True), ()).each_subject()
    }
    clip_scorer = digest_of_clip_scorer(config.evaluation.encoder) if config.evaluation.enabled else None
    own = {image.path.name: image.digest for image in own_class_images(config)}
    content = Content(run.base.digest, [list(one.values()) for one in photos.values()], clip_scorer, list(own.values()))
    keys, now = phase_keys(config, content), Beginning.of(config, content, run.base.commit)
    if not path.exists():
        write_json(path, now.model_dump())
        _record_settings(run)
        return keys
    before = json.loads(path.read_text())
    determined = before.get("determined", before)
    continues = not asks_for_more_steps(determined, now.determined) or _continues(run, ledger)
    if "determined" in before:
        files = {**photos, CLASS_IMAGES: own}
        problems = Beginning.model_validate(before).problems(now, files, run.folder.root, continues=continues)
    elif config.subject:
        old = ByPath(config, photos["spec.subject.images"])
        problems = differences(before, old.determined, run.folder.root, continues=continues)
        if not problems:
            ledger.rename(old.keys, keys)
    else:
        problems = differences(determined, now.determined, run.folder.root, continues=continues)
    if problems:
        raise InvalidConfig(problems)
    _record_settings(run)
    if determined != now.determined:
        write_json(path, now.model_dump())
    return keys


def _record_settings(run: Run) -> None:
    """Writes the settings, from which pictures can be generated before the run is finished."""
    model = run.config.model
    pinned = model.model_copy(update={"revision": run.base.commit or model.revision})
    config = run.config.model_copy(update={"model": pinned})
    settings = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    with suppress(OSError, ValueError):
        if json.loads(run.folder.settings.read_text()) == settings:
            return
    write_json(run.folder.settings, settings)


def _continues(run: Run, ledger: Ledger) -> bool:
    """Whether more steps would continue the training in the folder, instead of repeating finished steps."""
    folder = run.folder
    trained = ledger.has("train") and any(path.exists() for path in (folder.model, folder.weights, folder.candidates))
    return not trained or newest(folder.checkpoints) is not None
