"""Builds the volumes and volume mounts of the pods. All paths inside the pods are defined here.

/config             train.json
/input/photos       photos from a ConfigMap or an image
/input/class-images own class images from a ConfigMap or an image
/input/claims/NAME  a claim with photos, class images or models
/output             the claim for the output; the run has a folder in it
/cache              the claim for the cache, if there is one
/etc/ca-bundle      certificates of authorities
/tmp                temporary files and the home directory
/dev/shm            shared memory for the processes of a pod
"""

from collections.abc import Mapping
from posixpath import basename, join, normpath
from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_api.runtime_pods import CaBundle
from dreambooth_api.training import Images
from dreambooth_operator.objects import names

CONFIG = "/config"
CONFIG_FILE = "train.json"
OUTPUT = "/output"
CA_FOLDER = "/etc/ca-bundle"
CA_FILE = f"{CA_FOLDER}/ca.crt"
CLAIM_SCHEME = "pvc://"
PICTURES = {"photos": "subject.images", "class-images": "prior.source"}
"""By the name of a volume with pictures: the field of the spec."""


def output_claim(job: DreamBoothJob) -> str:
    """Name of the claim for the output."""
    return job.spec.volumes.output.claim_name or names.claim(job.metadata.name)


def output_path(job: DreamBoothJob) -> str:
    """Folder of the run in the volume of the output."""
    return job.spec.volumes.output.path or job.metadata.name


def run_folder(job: DreamBoothJob) -> str:
    """Folder of the run inside the pods."""
    return _inside(OUTPUT, output_path(job))


def cache_folder(job: DreamBoothJob) -> str:
    """Folder of class images and downloaded models inside the pods."""
    cache = job.spec.volumes.cache
    return _inside("/cache", cache.path or ".") if cache else f"{OUTPUT}/.cache"


def pictures_of(job: DreamBoothJob) -> Mapping[str, Images]:
    """The photos and class images of the spec, by the names of their volumes."""
    pictures = {"photos": job.spec.subject.images, "class-images": job.spec.prior.source}
    return {name: images for name, images in pictures.items() if images}


def pictures_folder(job: DreamBoothJob, name: str) -> str | None:
    """Folder of the photos or class images inside the pods; None if the spec has none."""
    images = pictures_of(job).get(name)
    if images is None:
        return None
    if images.persistent_volume_claim:
        return _inside(_input(images.persistent_volume_claim.claim_name), images.persistent_volume_claim.path)
    return _inside(f"/input/{name}", images.image.path if images.image else ".")


def model_folder(source: str) -> str:
    """Path of a model inside the pods for a source `pvc://claim/path`; other sources are unchanged."""
    if not source.startswith(CLAIM_SCHEME):
        return source
    claim, _, path = source.removeprefix(CLAIM_SCHEME).partition("/")
    return _inside(_input(claim), path or ".")


def claims_read(job: DreamBoothJob) -> Mapping[str, str]:
    """The claims with pictures and models: the name, and the field of the spec that contains it."""
    named: dict[str, str] = {}
    for name, images in pictures_of(job).items():
        if claim := images.persistent_volume_claim:
            named.setdefault(claim.claim_name, f"{PICTURES[name]}.persistentVolumeClaim.claimName")
    model = job.spec.model
    sources = {
        "model.source": model.source,
        "model.config": model.config or "",
        "evaluation.encoder": job.spec.evaluation.encoder,
    }
    for field, source in sources.items():
        if source.startswith(CLAIM_SCHEME):
            named.setdefault(source.removeprefix(CLAIM_SCHEME).partition("/")[0], field)
    return named


def volumes(job: DreamBoothJob, ca_bundle: CaBundle | None) -> list[dict[str, Any]]:
    """The volumes of a pod; each claim is one volume, even if it is mounted several times."""
    shared = {"medium": "Memory", "sizeLimit": job.spec.resources.shared_memory}
    items: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": names.config_map(job.metadata.name)}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": shared},
        *(_claim_volume(job, claim, volume) for claim, volume in _claims(job).items()),
    ]
    for name, images in pictures_of(job).items():
        if images.config_map:
            items.append({"name": name, "configMap": {"name": images.config_map.name}})
        if images.image:
            image = {"reference": images.image.reference, "pullPolicy": images.image.pull_policy}
            items.append({"name": name, "image": image})
    if ca_bundle:
        file = {"key": ca_bundle.key, "path": basename(CA_FILE)}
        items.append({"name": "ca-bundle", "configMap": {"name": ca_bundle.config_map_name, "items": [file]}})
    return items


def mounts(job: DreamBoothJob, ca_bundle: CaBundle | None) -> list[dict[str, Any]]:
    """The volume mounts of the trainer's container."""
    claims, cache = _claims(job), job.spec.volumes.cache
    items: list[dict[str, Any]] = [
        {"name": "config", "mountPath": CONFIG, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        {"name": claims[output_claim(job)], "mountPath": OUTPUT},
    ]
    if cache:
        items.append({"name": claims[cache.claim_name], "mountPath": "/cache"})
    items += [{"name": claims[claim], "mountPath": _input(claim), "readOnly": True} for claim in claims_read(job)]
    items += [
        {"name": name, "mountPath": f"/input/{name}", "readOnly": True}
        for name, images in pictures_of(job).items()
        if images.config_map or images.image
    ]
    if ca_bundle:
        items.append({"name": "ca-bundle", "mountPath": CA_FOLDER, "readOnly": True})
    return items


def _claims(job: DreamBoothJob) -> Mapping[str, str]:
    """The name of the volume for each claim."""
    cache = job.spec.volumes.cache
    named = {output_claim(job): "output"}
    if cache:
        named.setdefault(cache.claim_name, "cache")
    for number, claim in enumerate(claims_read(job)):
        named.setdefault(claim, f"input-{number}")
    return named


def _claim_volume(job: DreamBoothJob, claim: str, volume: str) -> dict[str, Any]:
    cache = job.spec.volumes.cache
    written = {output_claim(job), *([cache.claim_name] if cache else [])}
    # Unless a claim is read-only, the kubelet changes owner and mode of the whole volume for `fsGroup`.
    read_only = {} if claim in written else {"readOnly": True}
    return {"name": volume, "persistentVolumeClaim": {"claimName": claim, **read_only}}


def _input(claim: str) -> str:
    return f"/input/claims/{claim}"


def _inside(folder: str, path: str) -> str:
    """A path inside a folder; `..` can't leave the folder."""
    return normpath(join(folder, normpath(f"/{path}").lstrip("/")))
