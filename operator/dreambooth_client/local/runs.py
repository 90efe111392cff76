"""Folders of runs and of scenes on this machine, as workloads: what an operator writes in a cluster follows from their files."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dreambooth_api.job import KIND
from dreambooth_api.progress import Snapshot
from dreambooth_api.scene import Scene
from dreambooth_api.status import Condition, DreamBoothJobStatus, DreamBoothSceneStatus
from dreambooth_api.training import TrainConfig
from dreambooth_api.workload import API_VERSION
from dreambooth_client.local.processes import running
from dreambooth_client.seen import Seen
from dreambooth_operator.decide.status.progress import SCENE, TRAINING
from dreambooth_operator.decide.status.result import result_of_job, result_of_scene
from dreambooth_operator.decide.status.termination_message import TerminationMessage, parsed
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


def run_of(folder: Path) -> Seen | None:
    """The run in a folder; None if there is none."""
    run, records = RunFolder(folder), Records.of(folder)
    job = _json(records.manifest) or _json_spec(KIND, folder.name, _json(run.settings))
    if job is None:
        return None
    known = _known(TrainConfig, job["spec"])
    ending, snapshot = _ending(records), _snapshot(records)
    phase, reason, message = _state(records, run.lock, run.complete.exists(), ending, snapshot)
    progress = TRAINING.reported(None, snapshot, known) if snapshot and known else None
    if phase == "Complete" and known:
        progress = TRAINING.completed(progress, ending, known)
    status = DreamBoothJobStatus(
        phase=phase,
        message=message,
        progress=progress,
        result=result_of_job(Folder("", str(folder)), ending) if phase == "Complete" else None,
        conditions=_conditions(phase, reason, message),
    )
    return _seen(job, folder, status)


def scene_of(folder: Path) -> Seen | None:
    """The scene in a folder; None if there is none."""
    records = Records.of(folder)
    scene = _json(records.manifest)
    if scene is None:
        return None
    known = _known(Scene, {name: value for name, value in scene["spec"].items() if name != "jobName"})
    ending, snapshot = _ending(records), _snapshot(records)
    phase, reason, message = _state(records, folder / LOCK, (folder / f"{NAME}.json").exists(), ending, snapshot)
    progress = SCENE.reported(None, snapshot, known) if snapshot and known else None
    if phase == "Complete" and known:
        progress = SCENE.completed(progress, ending, known)
    status = DreamBoothSceneStatus(
        phase=phase,
        message=message,
        progress=progress,
        result=result_of_scene(Folder("", str(folder)), ending) if phase == "Complete" else None,
        conditions=_conditions(phase, reason, message),
    )
    return _seen(scene, folder, status)


def _state(
    records: Records, lock: Path, complete: bool, ending: TerminationMessage | None, snapshot: Snapshot | None
) -> tuple[str, str | None, str]:
    """Phase, reason of a failure, and message."""
    # In this order: a process that ends leaves its message first.
    if running(records, lock):
        return ("Running" if snapshot else "Starting"), None, ""
    ending = ending or _ending(records)
    if ending and ending.reason == "Interrupted":
        return "Suspended", None, ending.message
    if ending and ending.reason != "Completed":
        return "Failed", ending.reason, ending.message
    if complete:
        return "Complete", None, ending.message if ending else ""
    message = "its process was killed, or the machine was restarted; a retry continues from what it has saved"
    return "Failed", KILLED, message


def _conditions(phase: str, reason: str | None, message: str) -> list[Condition]:
    if phase != "Failed":
        return []
    return [
        Condition(
            type="Failed",
            status="True",
            reason=reason or KILLED,
            message=message,
            last_transition_time=datetime.now(UTC),
            observed_generation=1,
        )
    ]


def _seen(manifest: Mapping[str, Any], folder: Path, status: DreamBoothJobStatus | DreamBoothSceneStatus) -> Seen:
    created = datetime.fromtimestamp(folder.stat().st_ctime, UTC)
    for file in (Records.of(folder).manifest, RunFolder(folder).settings):
        if file.exists():
            created = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            break
    metadata = {**manifest["metadata"], "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ")}
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Seen({**manifest, "metadata": metadata, "status": written})


def _json_spec(kind: str, name: str, spec: Any) -> dict[str, Any] | None:
    """The manifest of a run that a terminal has started."""
    return spec and {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


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
