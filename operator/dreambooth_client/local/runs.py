"""Folders of runs and of scenes on this machine, as workloads: what an operator writes in a cluster follows from their files."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.job import KIND
from dreambooth_api.progress import Snapshot
from dreambooth_api.scene import Scene
from dreambooth_api.status import Condition, DreamBoothJobStatus, DreamBoothSceneStatus, JobResult, SceneResult
from dreambooth_api.training import TrainConfig
from dreambooth_api.workload import API_VERSION
from dreambooth_client.local.processes import running
from dreambooth_client.seen import Seen
from dreambooth_operator.decide.status.progress import SCENE, TRAINING, Reporter
from dreambooth_operator.decide.status.result import result_of_job, result_of_scene
from dreambooth_operator.decide.status.termination_message import COMPLETED, TerminationMessage, parsed
from dreambooth_operator.objects.folders import Folder
from dreambooth_trainer.process.records import Records
from dreambooth_trainer.run import RunFolder
from dreambooth_trainer.scene import LOCK, NAME

SCENES = "scenes"
"""Folder of the scenes of a run, in the folder of the run."""
KILLED = "Killed"
"""Why a workload has failed whose process has ended without a word."""


def runs_in(folder: Path) -> list[Seen]:
    """All runs in a folder, by their names."""
    found = (run_of(one) for one in _folders(folder))
    return [one for one in found if one]


def scenes_in(folder: Path) -> list[Seen]:
    """All scenes of all runs in a folder, by the names of the runs and their own."""
    found = (scene_of(one) for run in _folders(folder) for one in _folders(run / SCENES))
    return [one for one in found if one]


def scene_folder(folder: Path, name: str) -> Path | None:
    """The folder of the scene of a name; None if there is none."""
    return next((one for run in _folders(folder) for one in _folders(run / SCENES) if one.name == name), None)


class _Kind(NamedTuple):
    """What differs between the kinds of workloads."""

    status: Callable[..., DreamBoothJobStatus | DreamBoothSceneStatus]
    reporter: Reporter[Any, Any]
    spec: type[BaseModel]
    """What the trainer reads of the spec."""
    result: Callable[[Folder, TerminationMessage | None], JobResult | SceneResult]


_KINDS = {
    KIND: _Kind(DreamBoothJobStatus, TRAINING, TrainConfig, result_of_job),
    SCENE_KIND: _Kind(DreamBoothSceneStatus, SCENE, Scene, result_of_scene),
}


def run_of(folder: Path) -> Seen | None:
    """The run in a folder; None if there is none."""
    run = RunFolder(folder)
    manifest = _json(Records.of(folder).manifest)
    # A terminal has started it.
    if manifest is None and (spec := _json(run.settings)):
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": folder.name}, "spec": spec}
    return manifest and _seen(manifest, folder, run.lock, run.complete)


def scene_of(folder: Path) -> Seen | None:
    """The scene in a folder; None if there is none."""
    manifest = _json(Records.of(folder).manifest)
    return manifest and _seen(manifest, folder, folder / LOCK, folder / f"{NAME}.json")


def _seen(manifest: Mapping[str, Any], folder: Path, lock: Path, last: Path) -> Seen:
    """A workload with its status.

    Args:
        manifest: its manifest.
        folder: its output.
        lock: the lock file of the folder.
        last: the file that is written last.
    """
    records, kind = Records.of(folder), _KINDS[manifest["kind"]]
    # In this order: a process leaves its message before it ends.
    is_running = running(records, lock) is not None
    ending, snapshot = _ending(records), _snapshot(records)
    phase, reason, message = _state(is_running, ending, snapshot, is_complete=last.exists())
    spec = _known(kind.spec, manifest["spec"])
    progress = kind.reporter.reported(None, snapshot, spec) if snapshot and spec else None
    is_complete = phase == "Complete"
    if is_complete and spec:
        progress = kind.reporter.completed(progress, ending, spec)
    status = kind.status(
        phase=phase,
        message=message,
        progress=progress,
        result=kind.result(Folder("", str(folder)), ending) if is_complete else None,
        conditions=[_failed(reason, message)] if reason else [],
    )
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    metadata = {**manifest["metadata"], "creationTimestamp": _created(folder).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return Seen({**manifest, "metadata": metadata, "status": written})


def _state(
    is_running: bool, ending: TerminationMessage | None, snapshot: Snapshot | None, *, is_complete: bool
) -> tuple[str, str | None, str]:
    """Phase, reason of a failure, and message."""
    if is_running:
        return ("Running" if snapshot else "Starting"), None, ""
    if ending and ending.reason == "Interrupted":
        return "Suspended", None, ending.message
    if ending and ending.reason != COMPLETED:
        return "Failed", ending.reason, ending.message
    if is_complete:
        return "Complete", None, ending.message if ending else ""
    message = "its process was killed, or the machine was restarted; a retry continues from what it has saved"
    return "Failed", KILLED, message


def _failed(reason: str, message: str) -> Condition:
    return Condition(
        type="Failed",
        status="True",
        reason=reason,
        message=message,
        last_transition_time=datetime.now(UTC),
        observed_generation=1,
    )


def _created(folder: Path) -> datetime:
    files = Records.of(folder).manifest, RunFolder(folder).settings
    return datetime.fromtimestamp(next(file for file in files if file.exists()).stat().st_mtime, UTC)


def _known(model: type[Any], spec: Mapping[str, Any]) -> Any:
    """The fields of a spec that a model has; None if another version wrote what this one can't read."""
    names = {field.alias or name for name, field in model.model_fields.items()}
    try:
        return model.model_validate({name: value for name, value in spec.items() if name in names})
    except ValidationError:
        return None


def _ending(records: Records) -> TerminationMessage | None:
    try:
        return parsed(records.ending.read_text())
    except OSError:
        return None


def _snapshot(records: Records) -> Snapshot | None:
    try:
        return Snapshot.model_validate_json(records.progress.read_bytes())
    except (OSError, ValidationError):
        return None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
