"""Changes of workloads: suspend, resume, delete, start again."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dreambooth_api.job import KIND
from dreambooth_api.workload import API_VERSION
from dreambooth_client.cluster.session import Session
from dreambooth_client.cluster.workloads import read
from dreambooth_client.errors import ClusterFailure, NotComplete
from dreambooth_client.fields import merged
from dreambooth_client.seen import Seen, Target
from dreambooth_operator.objects.observed import Object, Reference

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def suspend(session: Session, target: Target, wanted: bool) -> None:
    """Sets `spec.suspend` of a workload.

    Raises:
        NotComplete: it has ended.
    """
    seen = await read(session, target)
    if seen.has_ended:
        raise NotComplete(f"{target} can't be {'suspended' if wanted else 'resumed'}: it is {seen.phase}.")
    await session.cluster.patch(target.kind, session.namespace, target.name, {"spec": {"suspend": wanted}})


async def delete(session: Session, target: Target, *, wait: bool) -> Seen:
    """Deletes a workload, whose pods save their state; its claim remains unless its `deletionPolicy` says otherwise.

    Args:
        session: the connection.
        target: the workload.
        wait: whether to return only when it, its pods and its other objects are gone.
    """
    seen = await read(session, target)
    uid = seen.object["metadata"]["uid"]
    await session.cluster.delete(Reference(target.kind, target.name), session.namespace, uid)
    while wait:
        found = await session.cluster.get(target.kind, session.namespace, target.name)
        if found is None or found["metadata"]["uid"] != uid:
            break
        await asyncio.sleep(0.5)
    return seen


def renewed(seen: Seen, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest by which a workload that has ended starts again, from its last checkpoint or picture.

    Args:
        seen: the workload.
        changes: fields of the spec that replace those that it has.

    Raises:
        NotComplete: it has not ended, or is complete and has nothing from which it could continue.
        ClusterFailure: its claim would be deleted with it.
    """
    if not seen.has_ended:
        raise NotComplete(
            f"{seen.target} has not ended: it is {seen.phase}. It resumes by itself after an interruption."
        )
    output = seen.spec.get("volumes", {}).get("output", {})
    if seen.target.kind == KIND and output.get("create", {}).get("deletionPolicy") == "Delete":
        raise ClusterFailure(
            f"{seen.target} can't start again: its claim, with its checkpoints, is deleted with it "
            "(volumes.output.create.deletionPolicy: Delete). Submit it under another name."
        )
    if seen.target.kind == KIND and seen.phase == "Complete" and not seen.spec.get("checkpoints", {}).get("keepLast"):
        raise NotComplete(
            f"{seen.target} is complete and has kept no checkpoint from which it could continue: checkpoints.keepLast was "
            "false. Submit another DreamBoothJob."
        )
    metadata = seen.object["metadata"]
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key != _LAST_APPLIED}
    kept = {"name": metadata["name"], "namespace": metadata["namespace"]}
    kept |= {"labels": metadata["labels"]} if metadata.get("labels") else {}
    kept |= {"annotations": annotations} if annotations else {}
    spec = merged(seen.spec, changes)
    return {"apiVersion": API_VERSION, "kind": seen.target.kind, "metadata": kept, "spec": spec}


async def retry(session: Session, target: Target, changed: Mapping[str, Any], report: Callable[[str], None]) -> None:
    """Replaces a workload that has ended by a new one.

    Args:
        session: the connection.
        target: the workload.
        changed: see `renewed`, whose errors this raises too.
        report: called with what to do if this is interrupted after the old one is gone.

    Raises:
        ClusterError: the API server refuses the manifest, before anything is deleted.
    """
    manifest = renewed(await read(session, target), changed)
    # Its name is taken until the old one is gone; everything else is checked before.
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "name"}
    await session.cluster.check({**manifest, "metadata": {**metadata, "generateName": "again-"}})
    with _saved(manifest, report):
        await delete(session, target, wait=True)
        await session.cluster.create(manifest)


@contextmanager
def _saved(manifest: Object, report: Callable[[str], None]) -> Iterator[None]:
    """Keeps a manifest in a file for the time between the end of the old object and the creation of the new one."""
    file = Path(f"{manifest['metadata']['name']}.retry.json")
    file.write_text(json.dumps(manifest, indent=1))
    try:
        yield
    except BaseException:
        report(
            f"the manifest is in {file}: if the old object is gone, create the new one with kubectl create -f {file}"
        )
        raise
    file.unlink()
