"""The CustomResourceDefinitions, made of the pydantic models: `python -m dreambooth_api.crd FOLDER` writes them.

    pydantic's JSON schema  ->  a structural schema as the API server wants it  +  CEL rules  ->  crds/

Every description, default and bound is the models'.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from dreambooth_api.cel import RULES
from dreambooth_api.cel_parts import Rule
from dreambooth_api.cel_runtime import RUNTIME_RULES
from dreambooth_api.cel_scene import SCENE_RULES
from dreambooth_api.dreamboothscene import SCENE_PLURAL, DreamBoothScene
from dreambooth_api.job import PLURAL, DreamBoothJob
from dreambooth_api.runtime import RUNTIME_PLURAL, DreamBoothRuntime
from dreambooth_api.status import NOT_OBSERVED
from dreambooth_api.validation import entry_of, resolve
from dreambooth_api.workload import GROUP, VERSION

KEPT = {
    "description",
    "enum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "type",
}
"""What pydantic's schema and a structural one have in common."""
CATEGORY = "dreambooth"
"""`kubectl get dreambooth` lists all kinds. They are not in the category `all`, whose kinds belong to Kubernetes itself."""
LIST_KEYS = {"status.conditions": "type", "status.attempts": "number", "spec.subjects": "name"}
"""Lists whose entries have a name each, by their paths."""


Column = tuple[str, str, str, int, str]
"""A column of `kubectl get`: name, type, place, priority (1: only with `-o wide`), description."""


class Resource(NamedTuple):
    """A kind of objects."""

    model: type[BaseModel]
    """What may stand in them."""
    plural: str
    short_name: str
    scope: Literal["Namespaced", "Cluster"]
    rules: Mapping[str, Sequence[Rule]]
    """CEL rules by the path of a field."""
    columns: Sequence[Column]
    selectable: Sequence[str] = ()
    """Places of the fields for `kubectl get --field-selector`."""
    status: Mapping[str, Any] | None = None
    """Default of the status; None: a new object has none."""

    @property
    def kind(self) -> str:
        """Its kind."""
        return self.model.__name__


_ETA: Column = (
    "ETA",
    "integer",
    ".status.progress.etaSeconds",
    0,
    "Seconds until the trainer's present phase will be done",
)
_WIDE: Sequence[Column] = (
    ("Runtime", "string", ".status.runtime", 1, "The runtime of the last attempt"),
    ("Queue", "string", ".spec.scheduling.queueName", 1, "Kueue's LocalQueue"),
    ("Message", "string", ".status.message", 1, "Why, and what to do"),
)
"""The last columns of the kinds that run pods."""

RESOURCES = (
    Resource(
        model=DreamBoothJob,
        plural=PLURAL,
        short_name="dbj",
        scope="Namespaced",
        rules=RULES,
        columns=(
            ("Phase", "string", ".status.phase", 0, "Where the job stands"),
            ("Progress", "integer", ".status.progress.percent", 0, "Share of the whole run that is done, in percent"),
            ("Step", "integer", ".status.progress.step", 0, "Optimizer steps done"),
            ("Loss", "number", ".status.progress.loss", 0, "Loss on the photos"),
            _ETA,
            ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the job was applied"),
            ("Model", "string", ".spec.model.source", 1, "The base model"),
            ("Identifier", "string", ".status.progress.identifier", 1, "The word that means the subject"),
            *_WIDE,
        ),
        # Without a status, tools would consider an object that no operator has seen to be ready.
        status={"observedGeneration": NOT_OBSERVED},
        selectable=(".status.phase", ".status.runtime", ".spec.runtime", ".spec.scheduling.queueName"),
    ),
    Resource(
        model=DreamBoothScene,
        plural=SCENE_PLURAL,
        short_name="dbs",
        scope="Namespaced",
        rules=SCENE_RULES,
        columns=(
            ("Phase", "string", ".status.phase", 0, "Where the scene stands"),
            ("Job", "string", ".spec.jobName", 0, "The DreamBoothJob whose model generates"),
            ("Pictures", "integer", ".status.progress.pictures.done", 0, "Pictures that exist"),
            ("Total", "integer", ".status.progress.pictures.total", 0, "Pictures that the spec asks for"),
            _ETA,
            ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the scene was applied"),
            ("Model", "string", ".spec.model.source", 1, "The model that generates, without a DreamBoothJob"),
            *_WIDE,
        ),
        status={"observedGeneration": NOT_OBSERVED},
        selectable=(".status.phase", ".status.runtime", ".spec.jobName", ".spec.runtime"),
    ),
    Resource(
        model=DreamBoothRuntime,
        plural=RUNTIME_PLURAL,
        short_name="dbr",
        scope="Cluster",
        rules=RUNTIME_RULES,
        columns=(
            ("Default", "boolean", ".spec.default", 0, "Whether jobs that name no runtime get this one"),
            ("Nodes", "integer", ".spec.limits.nodes", 0, "Nodes of a job at most"),
            ("GPUs", "integer", ".spec.limits.gpus", 0, "GPUs of a job at most"),
            ("Steps", "integer", ".spec.limits.steps", 0, "Steps of a job at most"),
            (
                "Accepted",
                "string",
                ".status.conditions[?(@.type=='Accepted')].status",
                0,
                "Whether the spec is valid for the operator",
            ),
            ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the runtime was published"),
            ("Image", "string", ".spec.image", 1, "The trainer's image, where it is not the operator's"),
            (
                "Message",
                "string",
                ".status.conditions[?(@.type=='Accepted')].message",
                1,
                "What is wrong in the spec",
            ),
        ),
    ),
)
"""All kinds of this group."""


def build_crd(resource: Resource) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind.

    It is written as the API server stores it and as Helm renders it: any difference, even between 5.0 and 5, would be a conflict
    between the managers of its versions when Helm takes it over.
    """
    keys = "name", "type", "jsonPath", "priority", "description"
    schema = _schema(resource)
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            _without_zero(dict(zip(keys, column, strict=True))) for column in resource.columns
        ],
        **({"selectableFields": [{"jsonPath": place} for place in resource.selectable]} if resource.selectable else {}),
        "schema": {"openAPIV3Schema": schema},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short_name],
                "categories": [CATEGORY],
            },
            "scope": resource.scope,
            "versions": [version],
        },
    }
    return _with_whole_numbers(definition)


def dump(crd: Mapping[str, Any]) -> str:
    """A CustomResourceDefinition as YAML."""
    # Imported late: other users of the models need pydantic alone.
    import yaml

    return yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)


class _Source(NamedTuple):
    """What a structural schema is made of."""

    document: Mapping[str, Any]
    """pydantic's whole schema, with its definitions."""
    rules: Mapping[str, Sequence[Rule]]
    """CEL rules by the path of a field."""


def _schema(resource: Resource) -> dict[str, Any]:
    document = resource.model.model_json_schema(by_alias=True)
    schema = _structural(document, _Source(document, resource.rules), "")
    texts = {
        "apiVersion": "Version of the schema of this object.",
        "kind": "Kind of this object.",
    }
    schema["properties"] |= {name: {"type": "string", "description": text} for name, text in texts.items()}
    if resource.status is not None:
        schema["properties"]["status"]["default"] = dict(resource.status)
    schema["properties"]["metadata"] = {"type": "object"}
    schema["required"] = ["spec"]
    return schema


def _structural(node: Mapping[str, Any], source: _Source, path: str) -> dict[str, Any]:
    """The structural schema of a node of pydantic's schema.

    Args:
        node: the node.
        source: what else it depends on.
        path: path of the field, by which CEL rules are found.
    """
    target = resolve(node, source.document)
    schema: dict[str, Any] = {key: value for key, value in target.items() if key in KEPT}
    if "description" in node:
        schema["description"] = node["description"]
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if "const" in target:
        schema["enum"] = [target["const"]]
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in target:
            schema |= {bound: target[exclusive], exclusive: True}
    if "enum" in schema and len({type(value) for value in schema["enum"]}) > 1:
        schema.pop("type", None)
        schema["x-kubernetes-int-or-string"] = True
    if target.get("format") == "date-time":
        schema["format"] = "date-time"
    if schema.get("type") == "integer":
        schema["format"] = "int64"
    # A status is what the operator wrote, no more.
    if node.get("default") is not None and not path.startswith("status"):
        schema["default"] = _without_nulls(node["default"])
    if rules := source.rules.get(path):
        schema["x-kubernetes-validations"] = [rule._asdict() for rule in rules]
    return schema | _children(target, source, path)


def _children(target: Mapping[str, Any], source: _Source, path: str) -> dict[str, Any]:
    """What a schema says of the parts of an object or list."""
    if "properties" in target:
        properties = {
            name: _structural(child, source, f"{path}.{name}".lstrip("."))
            for name, child in target["properties"].items()
        }
        required = {"required": list(target["required"])} if target.get("required") else {}
        return {"properties": properties, **required}
    if "items" in target:
        key = LIST_KEYS.get(path)
        names = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]} if key else {}
        return {"items": _structural(target["items"], source, f"{path}[]"), **names}
    if entry := entry_of(target):
        # The key's pattern has no place in a structural schema; CEL rules check it.
        return {"additionalProperties": _structural(entry.value, source, f"{path}{{}}")}
    return {}


def _without_nulls(value: Any) -> Any:
    """A default without the fields that are left out where nothing is given."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(entry) for name, entry in value.items() if entry is not None}
    return value


def _without_zero(column: Mapping[str, Any]) -> dict[str, Any]:
    """A column without the priority 0, which the API server does not store either."""
    return {name: value for name, value in column.items() if value != 0}


def _with_whole_numbers(value: Any) -> Any:
    """Writes 5.0 as 5, as Helm does when it renders a chart."""
    if isinstance(value, Mapping):
        return {name: _with_whole_numbers(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def main(folder: Path) -> None:
    """Writes all of them."""
    for resource in RESOURCES:
        (folder / f"{resource.plural}.yaml").write_text(dump(build_crd(resource)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
