"""The CustomResourceDefinition, made of the pydantic models: `python -m dreambooth_operator.api.crd` writes it.

    pydantic's JSON schema  ->  a structural schema as the API server wants it  +  CEL rules  ->  crds/

Every description, default and bound is the models'.
"""

import sys
from collections.abc import Mapping
from typing import Any

import yaml

from dreambooth_operator.api.cel import RULES
from dreambooth_operator.api.dreamboothjob import GROUP, KIND, PLURAL, VERSION, DreamBoothJob
from dreambooth_trainer.checks import resolve

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
LIST_KEYS = {"conditions": "type", "attempts": "number"}
"""Lists of the status whose entries have a name each."""
COLUMNS = (
    ("Phase", "string", ".status.phase", 0, "Where the job stands"),
    ("Progress", "integer", ".status.progress.percent", 0, "Share of the whole run that is done, in percent"),
    ("Step", "integer", ".status.progress.step", 0, "Optimizer steps done"),
    ("Loss", "number", ".status.progress.loss", 0, "Loss on the photos"),
    ("ETA", "integer", ".status.progress.etaSeconds", 0, "Seconds until the trainer's present phase will be done"),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the job was applied"),
    ("Model", "string", ".spec.model.source", 1, "The base model"),
    ("Identifier", "string", ".status.progress.identifier", 1, "The word that means the subject"),
    ("Queue", "string", ".spec.scheduling.queueName", 1, "Kueue's LocalQueue"),
    ("Message", "string", ".status.message", 1, "Why, and what to do"),
)
"""Columns of `kubectl get`: name, type, place, priority (1: only with `-o wide`), description."""


def build_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of `DreamBoothJob`."""
    keys = "name", "type", "jsonPath", "priority", "description"
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [dict(zip(keys, column, strict=True)) for column in COLUMNS],
        "schema": {"openAPIV3Schema": _schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["dbj"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def dump(crd: Mapping[str, Any]) -> str:
    """A CustomResourceDefinition as YAML."""
    return yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)


def _schema() -> dict[str, Any]:
    document = DreamBoothJob.model_json_schema(by_alias=True)
    schema = _structural(document, document, "")
    texts = {
        "apiVersion": "Version of the schema of this object.",
        "kind": "Kind of this object.",
    }
    schema["properties"] |= {name: {"type": "string", "description": text} for name, text in texts.items()}
    schema["properties"]["metadata"] = {"type": "object"}
    schema["required"] = ["spec"]
    return schema


def _structural(node: Mapping[str, Any], document: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The structural schema of a node of pydantic's schema.

    Args:
        node: the node.
        document: the whole schema, for its definitions.
        path: path of the field, by which CEL rules are found.
    """
    target = resolve(node, document)
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
    # A status is what the operator wrote, no more.
    if node.get("default") is not None and not path.startswith("status"):
        schema["default"] = _without_nulls(node["default"])
    if rules := RULES.get(path):
        schema["x-kubernetes-validations"] = [rule._asdict() for rule in rules]
    return schema | _children(target, document, path)


def _children(target: Mapping[str, Any], document: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What a schema says of the parts of an object or list."""
    if "properties" in target:
        properties = {
            name: _structural(child, document, f"{path}.{name}".lstrip("."))
            for name, child in target["properties"].items()
        }
        required = {"required": list(target["required"])} if target.get("required") else {}
        return {"properties": properties, **required}
    if "items" in target:
        key = LIST_KEYS.get(path.rpartition(".")[2]) if path.startswith("status.") else None
        names = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]} if key else {}
        return {"items": _structural(target["items"], document, f"{path}[]"), **names}
    if isinstance(values := target.get("additionalProperties"), Mapping):
        return {"additionalProperties": _structural(values, document, f"{path}{{}}")}
    return {}


def _without_nulls(value: Any) -> Any:
    """A default without the fields that are left out where nothing is given."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(entry) for name, entry in value.items() if entry is not None}
    return value


if __name__ == "__main__":
    sys.stdout.write(dump(build_crd()))
