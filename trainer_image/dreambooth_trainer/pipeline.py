"""The phases in order: what each needs, what is skipped because its output is there, what is written at the end.

Called by `dreambooth run` and, in pods, by `python -m dreambooth_trainer`.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.progress import PhaseName
from dreambooth_trainer.evaluation.clip import digest_of_encoder
from dreambooth_trainer.models import Identity
from dreambooth_trainer.phase_records import Beginning, ByPath, Content, Ledger, differences, phase_keys
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
    config, distributed = run.config, run.distributed
    run.progress.update(
        device=distributed.device_name,
        total_steps=config.training.steps,
        class_images=config.prior.images if config.prior.enabled else None,
    )
    ledger, folder = Ledger(run.folder.state), run.folder
    keys = _begin(run, ledger) if distributed.is_main else {}
    if distributed.size > 1:
        distributed.connect()
        keys = json.loads(distributed.share(json.dumps(keys)))
        run.base = Identity(
            **json.loads(distributed.share(json.dumps(asdict(run.base) if distributed.is_main else None)))
        )

    def once(
        phase: PhaseName, kind: type[Result], output: Path, work: Callable[[], Result], *first: PhaseName
    ) -> Result:
        finished = ledger.recall(phase, keys[phase], kind) if output.exists() else None
        if finished is not None:
            for skipped in (*first, phase):
                run.progress.skip(skipped)
            return finished
        if distributed.is_main:
            folder.complete.unlink(missing_ok=True)
        result = work()
        if distributed.is_main:
            reports = run.progress.snapshot().phases
            took: dict[str, float] = {
                one.name: one.seconds for one in reports if one.name in (*first, phase) and one.state == "done"
            }
            ledger.record(phase, keys[phase], result, took)
        return result

    prepared = once("prepare", prepare.Prepared, folder.photos, lambda: prepare.prepare(run))
    run.identifier = prepared.identifier
    run.progress.update(identifier=run.identifier)
    distributed.barrier()
    # Once the model is exported, nothing needs the weights any more.
    exported = folder.model.exists() and ledger.recall("export", keys["export"], export.Exported)
    trained = folder.model if exported else folder.weights
    once("train", train.Trained, trained, lambda: _train(run), "prior", "cache")
    # Nobody changes the folder before everybody has looked at it.
    distributed.barrier()
    if not distributed.is_main:
        return {}
    once("export", export.Exported, folder.model, lambda: export.export(run))
    once("sample", sample.Sampled, folder.samples, lambda: sample.sample(run, lambda: export.load_exported(run)))
    if config.evaluation.enabled:
        once(
            "evaluate", evaluate.Evaluated, folder.evaluation, lambda: evaluate.evaluate(run, export.load_exported(run))
        )
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
        class_images = prior.generate_class_images(run)
    else:
        class_images = None
        run.progress.skip("prior")
    run.distributed.barrier()
    return train.train(run, cache.make_dataset(run, class_images))


def _conclude(run: Run, ledger: Ledger, keys: dict[str, str]) -> RunResult:
    """The result, written unless it is there."""
    folder = run.folder
    if all(path.exists() for path in (folder.complete, folder.result, folder.report)):
        return read_result(folder.result)
    result = write_result(run, ledger, keys)
    # Weights and training states are in the exported model now, pictures in the report; on a volume they would only cost room.
    for leftover in (folder.weights, folder.checkpoints, folder.base_pictures, folder.hub):
        shutil.rmtree(leftover, ignore_errors=True)
    write_atomically(folder.complete, "")
    return result


def _begin(run: Run, ledger: Ledger) -> dict[str, str]:
    """Makes sure that the folder holds no other training, and tells the keys of the phases.

    Models are large: the main process alone reads them to tell what they are.
    """
    config, photos, path = run.config, digests_of_photos(run), run.folder.state / "training.json"
    encoder = digest_of_encoder(config.evaluation.encoder) if config.evaluation.enabled else None
    content = Content(run.base.digest, list(photos.values()), encoder)
    keys, now = phase_keys(config, content), Beginning.of(config, content, run.base.commit)
    if not path.exists():
        write_json(path, now.model_dump())
        return keys
    before = json.loads(path.read_text())
    if "determined" in before:
        problems = Beginning.model_validate(before).problems(now, photos, run.folder.root)
    else:
        old = ByPath(config, photos)
        problems = differences(before, old.determined, run.folder.root)
        if not problems:
            ledger.rename(old.keys, keys)
            write_json(path, now.model_dump())
    if problems:
        raise InvalidConfig(problems)
    return keys
