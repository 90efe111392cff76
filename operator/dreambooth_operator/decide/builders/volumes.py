"""Builds the volumes and volume mounts of the pods. `programs/paths.py` defines where they are mounted."""

from collections.abc import Mapping
from posixpath import basename
from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.runtime_pods import CaBundle
from dreambooth_operator.decide.programs.paths import CA_FILE, CA_FOLDER, CONFIG, mounted_pictures
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.objects import names


def volumes(workload: Workload, program: Program, ca_bundle: CaBundle | None) -> list[dict[str, Any]]:
    """The volumes of a pod; each claim is one volume, even if it is mounted several times."""
    shared = {"medium": "Memory", "sizeLimit": workload.spec.resources.shared_memory}
    items: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": names.config_map(workload)}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": shared},
        *(_claim_volume(program, claim, volume) for claim, volume in _claims(program).items()),
    ]
    for name, (_, images) in program.pictures.items():
        if sources := [{"configMap": {"name": one}} for one in images.in_config_maps.values()]:
            items.append({"name": name, **(sources[0] if images.config_map else {"projected": {"sources": sources}})})
        if images.image:
            image = {"reference": images.image.reference, "pullPolicy": images.image.pull_policy}
            items.append({"name": name, "image": image})
    if ca_bundle:
        file = {"key": ca_bundle.key, "path": basename(CA_FILE)}
        items.append({"name": "ca-bundle", "configMap": {"name": ca_bundle.config_map_name, "items": [file]}})
    return items


def mounts(program: Program, ca_bundle: CaBundle | None) -> list[dict[str, Any]]:
    """The volume mounts of the trainer's container."""
    claims = _claims(program)
    items: list[dict[str, Any]] = [
        {"name": "config", "mountPath": CONFIG, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        *(
            {"name": claims[one.claim], "mountPath": one.path} | ({} if one.written else {"readOnly": True})
            for one in program.claims
        ),
    ]
    items += [
        {"name": name, "mountPath": mounted_pictures(name), "readOnly": True}
        for name, (_, images) in program.pictures.items()
        if images.in_config_maps or images.image
    ]
    if ca_bundle:
        items.append({"name": "ca-bundle", "mountPath": CA_FOLDER, "readOnly": True})
    return items


def _claims(program: Program) -> Mapping[str, str]:
    """The name of the volume for each claim: that of its first mount."""
    named: dict[str, str] = {}
    for one in program.claims:
        named.setdefault(one.claim, one.volume)
    return named


def _claim_volume(program: Program, claim: str, volume: str) -> dict[str, Any]:
    # Unless a claim is read-only, the kubelet changes owner and mode of the whole volume for `fsGroup`.
    written = any(one.written for one in program.claims if one.claim == claim)
    return {"name": volume, "persistentVolumeClaim": {"claimName": claim, **({} if written else {"readOnly": True})}}
