"""Explains why the API server calls an object of an attempt invalid, by the field of the spec that the value comes from.

The spec is immutable, so it can never be accepted. A value of the runtime or of the operator's settings can be corrected. Used by
`decide/decision.py` before the first attempt starts.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.failures import Problem
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.decide.status.reasons import sentence
from dreambooth_operator.objects.observed import InvalidField, Object
from dreambooth_operator.objects.reading import name_of

_TEMPLATE = r"spec\.template\.spec\."
_CONTAINER = _TEMPLATE + r"containers\[0\]\."
_RESOURCE = _CONTAINER + r"resources\.\w+\[{}\]"
_FIELDS: Mapping[tuple[str, str], str] = {
    ("PersistentVolumeClaim", r"spec\.accessModes"): "volumes.output.create.accessModes",
    ("PersistentVolumeClaim", r"spec\.resources"): "volumes.output.create.size",
    ("PersistentVolumeClaim", r"spec\.storageClassName"): "volumes.output.create.storageClassName",
    ("Job", r"(spec\.template\.)?(metadata\.)?labels"): "scheduling.queueName",
    ("Job", _TEMPLATE + r"tolerations\[(\d+)\]"): "scheduling.tolerations[{}]",
    ("Job", _TEMPLATE + r"tolerations"): "scheduling.tolerations",
    ("Job", _TEMPLATE + r"nodeSelector"): "scheduling.nodeSelector",
    ("Job", _TEMPLATE + r"priorityClassName"): "scheduling.priorityClassName",
    ("Job", _CONTAINER + r"image\b"): "image",
    ("Job", _RESOURCE.format("cpu")): "resources.cpu",
    ("Job", _RESOURCE.format("memory")): "resources.memory",
    ("Job", _RESOURCE.format("ephemeral-storage")): "resources.ephemeralStorage",
    ("Job", _RESOURCE.format("[^]]*/[^]]*")): "resources.gpuResourceName",
}
"""By kind and beginning of a path: the field of the spec that the value comes from."""
_VOLUMES = {
    "output": "volumes.output.claimName",
    "cache": "volumes.cache.claimName",
    "shared-memory": "resources.sharedMemory",
}
"""By the name of a volume, further to those of pictures: the field of the spec."""
_SETTINGS = re.compile(_TEMPLATE + r"imagePullSecrets|" + _CONTAINER + r"(imagePullPolicy|ports)")
"""Paths of values that come from the operator's settings."""
_KINDS = "ConfigMap", "PersistentVolumeClaim", "Job"
"""Kinds of objects whose content comes from the spec."""


def problems_of_the_spec(
    item: Object, fields: Sequence[InvalidField], given: Workload, applied: Workload, program: Program
) -> list[str]:
    """The problems of a spec from which an invalid object follows; none if they may be in the runtime or the settings.

    Args:
        item: the object that the API server calls invalid.
        fields: its invalid fields.
        given: the workload as it was applied.
        applied: the same, with the fields that its runtime sets.
        program: what its pods run.
    """
    if item["kind"] not in _KINDS:
        return []
    what = f"{item['kind']} {name_of(item)}"
    own, unnamed, others = [], [], False
    for field in fields:
        place = _place(item, field.path, program)
        if place is None:
            others = others or _SETTINGS.match(field.path) is not None
            unnamed.append(f"{what} that follows from the spec is invalid: {field.path}: {sentence(field.message)}")
        elif (value := _value(given, place)) and value == _value(applied, place):
            message = f"makes {what} invalid ({field.path}): {field.message}"
            own.append(str(Problem(f"spec.{place}", value, message, "Correct it")))
        else:
            others = True
    return own or ([] if others else unnamed)


def _place(item: Object, path: str, program: Program) -> str | None:
    """The field of the spec that the value at a path of an object comes from; None if it is not known."""
    if volume := re.match(_TEMPLATE + r"volumes\[(\d+)\]", path):
        return _place_of_volume(item["spec"]["template"]["spec"]["volumes"][int(volume[1])], program)
    if variable := re.match(_CONTAINER + r"env\[(\d+)\]", path):
        name = item["spec"]["template"]["spec"]["containers"][0]["env"][int(variable[1])]["name"]
        return next((one.field for one in program.secrets if one.variable == name), None)
    for (kind, beginning), place in _FIELDS.items():
        if kind == item["kind"] and (found := re.match(beginning, path)):
            return place.format(*found.groups())
    return None


def _place_of_volume(volume: Object, program: Program) -> str | None:
    claim = volume.get("persistentVolumeClaim", {}).get("claimName")
    named = (one.field for one in program.claims if one.claim == claim)
    if pictures := program.pictures.get(volume["name"]):
        return pictures.field
    return _VOLUMES.get(volume["name"]) or next(named, None)


def _value(workload: Workload, place: str) -> Any:
    """The value of a field of a spec; None where there is none."""
    value: Any = workload.spec.model_dump(by_alias=True, exclude_none=True)
    for part in re.findall(r"[^.\[\]]+", place):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value
