"""The phases in order: what each needs, what is skipped because its output is there, what is written at the end.

Called by `dreambooth run` and, in pods, by `python -m dreambooth_trainer`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.progress import PhaseName
from dreambooth_trainer.phase_records import Ledger, differences, phase_keys, what_determines_the_weights
from dreambooth_trainer.phases import cache, evaluate, export, prepare, prior, sample, train
from dreambooth_trainer.process.storage import sha256_of, write_atomically, write_json
from dreambooth_trainer.result import RunResult, read_result, write_result
from dreambooth_trainer.run import Run

Result = TypeVar("Result", bound=BaseModel)


def run_phases(run: Run) -> dict[str, float | str | None]:
    """Takes a run from wherever it stands to its end.

    Returns:
        What it left and the figures of the evaluation, few and small; empty in all processes but the main one.

    Raises:
        TrainerFailure: one of its classes; what was finished stays, and the next start goes on from there.
    """
    config, world = run.config, run.world
    run.progress.update(
        device=world.device_name,
        total_steps=config.training.steps,
        class_images=config.prior.images if config.prior.enabled else None,
    )
    photos = digests_of_photos(run)
    _refuse_another_training(run, photos)
    if world.size > 1:
        world.connect()
    keys = phase_keys(config, photos)
    ledger, folder = Ledger(run.folder.state), run.folder

    def once(
        phase: PhaseName, kind: type[Result], output: Path, work: Callable[[], Result], *first: PhaseName
    ) -> Result:
        finished = ledger.recall(phase, keys[phase], kind) if output.exists() else None
        if finished is not None:
            for skipped in (*first, phase):
                run.progress.skip(skipped)
            return finished
        if world.is_main:
            folder.complete.unlink(missing_ok=True)
        result = work()
        if world.is_main:
            reports = run.progress.snapshot().phases
            took: dict[str, float] = {
                one.name: one.seconds for one in reports if one.name in (*first, phase) and one.state == "done"
            }
            ledger.record(phase, keys[phase], result, took)
        return result

    prepared = once("prepare", prepare.Prepared, folder.photos, lambda: prepare.run(run))
    run.identifier = prepared.identifier
    run.progress.update(identifier=run.identifier)
    world.barrier()
    # Once the model is exported, nothing needs the weights any more.
    exported = folder.model.exists() and ledger.recall("export", keys["export"], export.Exported)
    trained = folder.model if exported else folder.weights
    once("train", train.Trained, trained, lambda: _train(run), "prior", "cache")
    # Nobody changes the folder before everybody has looked at it.
    world.barrier()
    if not world.is_main:
        return {}
    once("export", export.Exported, folder.model, lambda: export.run(run))
    once("sample", sample.Sampled, folder.samples, lambda: sample.run(run, lambda: export.load_exported(run)))
    if config.evaluation.enabled:
        once("evaluate", evaluate.Evaluated, folder.evaluation, lambda: evaluate.run(run, export.load_exported(run)))
    else:
        run.progress.skip("evaluate")
    return _conclude(run, ledger, keys).in_short()


def digests_of_photos(run: Run) -> dict[str, str]:
    """SHA-256 of every file in the folder of photos, by name."""
    folder = Path(run.config.subject.images.path or "")
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    return {path.name: sha256_of(path) for path in files}


def _train(run: Run) -> train.Trained:
    if run.config.prior.enabled:
        class_images = prior.run(run)
    else:
        class_images = None
        run.progress.skip("prior")
    run.world.barrier()
    return train.run(run, cache.run(run, class_images))


def _conclude(run: Run, ledger: Ledger, keys: dict[str, str]) -> RunResult:
    """The result, written unless it is there."""
    folder = run.folder
    if all(path.exists() for path in (folder.complete, folder.result, folder.report)):
        return read_result(folder.result)
    result = write_result(run, ledger, keys)
    # Weights and training states are in the exported model now; on a volume they would only cost room.
    for leftover in (folder.weights, folder.checkpoints):
        shutil.rmtree(leftover, ignore_errors=True)
    write_atomically(folder.complete, "")
    return result


def _refuse_another_training(run: Run, photos: dict[str, str]) -> None:
    """A folder holds one training: going on with other settings would mix two, starting anew would lose one."""
    path = run.folder.state / "training.json"
    now = what_determines_the_weights(run.config, photos)
    if not path.exists():
        if run.world.is_main:
            write_json(path, now)
        return
    if problems := differences(json.loads(path.read_text()), now, run.folder.root):
        raise InvalidConfig(problems)
