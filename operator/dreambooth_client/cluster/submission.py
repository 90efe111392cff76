"""Brings a DreamBoothJob with its photos into a cluster."""

import base64
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from dreambooth_api.cluster_rules import validate
from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.files import located
from dreambooth_api.job import KIND
from dreambooth_api.training import MOST_CONFIG_MAPS
from dreambooth_client.cluster import changes
from dreambooth_client.cluster.session import Session
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.photos import Files, fits, prepared, shared, size_of
from dreambooth_client.pictures import Pictures, sections_with_pictures
from dreambooth_client.preparation import Prepared
from dreambooth_client.seen import Seen, Target
from dreambooth_operator.kube.client import ClusterError
from dreambooth_operator.objects.observed import Object, Reference

LABEL_PICTURES = "dreambooth.io/pictures-of"
"""Name of the DreamBoothJob whose pictures a ConfigMap has, if they were submitted with it."""
LARGEST_SIDE = 1024
"""Pixels of the shorter side of photos where `training.resolution` does not say it: the resolution of most base models."""
SIDES = {"embedded://": 256, "stable-diffusion-v1": 512, "stable-diffusion-2": 768}
"""The same for base models with a lower one, by parts of their sources."""


def objects_of(job: Prepared) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The objects to create: a DreamBoothJob, and ConfigMaps with its pictures in the size of the training.

    Raises:
        InvalidConfig: the pictures don't fit into ConfigMaps, or the spec can't run in a cluster.
    """
    manifest, maps, too_large = in_config_maps(job.job, job.folder, _side(job.config.training.resolution, job))
    if too_large:
        raise InvalidConfig([_too_large(pictures, size) for pictures, size in too_large.items()])
    if problems := validate(manifest)[1]:
        raise InvalidConfig(problems)
    return manifest, maps


def _side(resolution: int | None, job: Prepared) -> int:
    """Pixels of the shorter side of photos that the training uses at most."""
    of_model = (side for part, side in SIDES.items() if part in job.config.model.source)
    return resolution or next(of_model, LARGEST_SIDE)


def _too_large(pictures: Pictures, size: int) -> Problem:
    megabytes = f"{size / 1e6:.1f} MB"
    message = (
        f"is the size of the pictures in the training, for which {MOST_CONFIG_MAPS} ConfigMaps of 1 MB have no room"
    )
    remedy = (
        "Give fewer, set a lower training.resolution, or put them on a PersistentVolumeClaim and name it in "
        f"{pictures.field}.persistentVolumeClaim"
    )
    return Problem(f"spec.{pictures.field}", megabytes, message, remedy)


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
    sections = list(sections_with_pictures(job["spec"]))
    # Class images have the shapes of the photos.
    all_square = all(_is_square(section) for _, section in sections)
    for pictures, section in sections:
        source = section.get(pictures.key) or {}
        if not source.get("path"):
            continue
        square = all_square if pictures.key == "source" else _is_square(section)
        files, names = prepared(located(folder, source["path"]), side, square=square)
        if not fits(files):
            too_large[pictures] = size_of(files)
            continue
        own = _config_maps(job["metadata"]["name"], pictures.suffix, shared(files))
        maps += own
        named = [{"name": one["metadata"]["name"]} for one in own]
        section[pictures.key] = {"configMap": named[0]} if len(named) == 1 else {"configMaps": named}
        if captions := section.get("captions"):
            section["captions"] = {names.get(name, name): text for name, text in captions.items()}
    return job, maps, too_large


def _is_square(section: Mapping[str, Any]) -> bool:
    """Whether photos of a subject are cut to squares."""
    return section.get("crop", "center") == "center"


def _config_maps(job: str, suffix: str, shares: Sequence[Files]) -> list[dict[str, Any]]:
    numbers = [f"-{number}" for number in range(1, len(shares) + 1)] if len(shares) > 1 else [""]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{job}-{suffix}{number}", "labels": {LABEL_PICTURES: job}},
            "binaryData": {name: base64.b64encode(content).decode() for name, content in files.items()},
        }
        for number, files in zip(numbers, shares, strict=True)
    ]


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


async def delete(session: Session, target: Target, *, wait: bool) -> Seen:
    """Deletes a workload, see `changes.delete`, and the ConfigMaps that were submitted with it."""
    seen = await changes.delete(session, target, wait=wait)
    labels = f"{LABEL_PICTURES}={target.name}"
    submitted = await session.cluster.list("ConfigMap", session.namespace, labels) if target.kind == KIND else ([], 0)
    for one in submitted[0]:
        reference = Reference("ConfigMap", one["metadata"]["name"])
        await session.cluster.delete(reference, session.namespace, one["metadata"]["uid"])
    return seen


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
