"""Brings a DreamBoothJob with its photos into a cluster."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from dreambooth_api.files import located
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.photos import MOST_BYTES, Files, prepared, size_of
from dreambooth_client.session import Session
from dreambooth_client.workloads import Seen
from dreambooth_operator.kube.client import ClusterError
from dreambooth_operator.objects.observed import Object, Reference

LABEL_PICTURES = "dreambooth.io/pictures-of"
"""Name of the DreamBoothJob whose pictures a ConfigMap has, if they were submitted with it."""


class Pictures(NamedTuple):
    """Pictures that a DreamBoothJob names."""

    called: str
    """What they are called in messages."""
    field: str
    """The field of the spec."""
    suffix: str
    """What follows the name of the DreamBoothJob in the name of their ConfigMap."""


def in_config_maps(
    document: Object, folder: Path, side: int
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[Pictures, int]]:
    """A DreamBoothJob with pictures from ConfigMaps instead of folders of this machine.

    Args:
        document: the DreamBoothJob, which has been checked.
        folder: where relative paths begin.
        side: pixels of the shorter side of the pictures; smaller ones are not enlarged.

    Returns:
        The DreamBoothJob, the ConfigMaps, and the bytes of pictures that are too large for a ConfigMap.
    """
    job, maps, too_large = deepcopy(dict(document)), [], {}
    sections = list(_sections_with_pictures(job["spec"]))
    # Class images have the shapes of the photos.
    all_square = all(_is_square(section) for _, section in sections)
    for pictures, section in sections:
        field = pictures.field.rpartition(".")[2]
        source = section.get(field) or {}
        if not source.get("path"):
            continue
        square = all_square if field == "source" else _is_square(section)
        files, names = prepared(located(folder, source["path"]), side, square=square)
        if (size := size_of(files)) > MOST_BYTES:
            too_large[pictures] = size
        maps.append(_config_map(job["metadata"]["name"], pictures.suffix, files))
        section[field] = {"configMap": {"name": maps[-1]["metadata"]["name"]}}
        if captions := section.get("captions"):
            section["captions"] = {names.get(name, name): text for name, text in captions.items()}
    return job, maps, too_large


def _sections_with_pictures(spec: dict[str, Any]) -> Iterator[tuple[Pictures, dict[str, Any]]]:
    """The sections of a spec that may name pictures."""
    yield Pictures("PHOTOS", "subject.images", "photos"), spec.get("subject") or {}
    for number, one in enumerate(spec.get("subjects") or ()):
        field = f"subjects[{number}].images"
        yield Pictures(field, field, f"photos-{one['name']}"), one
    yield Pictures("prior.source", "prior.source", "class-images"), spec.get("prior") or {}


def _is_square(section: Mapping[str, Any]) -> bool:
    """Whether photos of a subject are cut to squares."""
    return section.get("crop", "center") == "center"


def _config_map(job: str, suffix: str, files: Files) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{job}-{suffix}", "labels": {LABEL_PICTURES: job}},
        "binaryData": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }


async def submit(session: Session, job: Object, pictures: Sequence[Object]) -> Seen:
    """Creates a DreamBoothJob, and the ConfigMaps with its pictures.

    Args:
        session: the connection.
        job: the DreamBoothJob.
        pictures: the ConfigMaps.

    Raises:
        ClusterFailure: there is a DreamBoothJob of this name.
        ClusterError: the API server refuses one of them; the DreamBoothJob is then not created.
    """
    job = _in(session.namespace, job)
    try:
        await session.cluster.check(job)
        for one in pictures:
            await _put(session, _in(session.namespace, one))
        return Seen(await session.cluster.create(job))
    except ClusterError as error:
        if error.status != 409:
            raise
        name = job["metadata"]["name"]
        remedy = f"Choose another name, or remove it: dreambooth delete {name}"
        raise ClusterFailure(f"DreamBoothJob {name} exists in namespace {session.namespace}. {remedy}") from error


async def delete_pictures(session: Session, job: str) -> None:
    """Deletes the ConfigMaps that were submitted with a DreamBoothJob."""
    for one in (await session.cluster.list("ConfigMap", session.namespace, f"{LABEL_PICTURES}={job}"))[0]:
        reference = Reference("ConfigMap", one["metadata"]["name"])
        await session.cluster.delete(reference, session.namespace, one["metadata"]["uid"])


async def _put(session: Session, photos: Object) -> None:
    """Creates a ConfigMap, in place of one that was submitted before under this name."""
    metadata = photos["metadata"]
    before = await session.cluster.get("ConfigMap", session.namespace, metadata["name"])
    if before is None:
        await session.cluster.create(photos)
        return
    if before["metadata"].get("labels", {}).get(LABEL_PICTURES) != metadata["labels"][LABEL_PICTURES]:
        raise ClusterFailure(f"ConfigMap {metadata['name']} exists and is not of this command. Choose another --name")
    version = {"resourceVersion": before["metadata"]["resourceVersion"]}
    await session.cluster.replace({**photos, "metadata": {**metadata, **version}})


def _in(namespace: str, item: Object) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}}
