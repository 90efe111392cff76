"""Generates `values.schema.json` and the table in README.md of the chart from the comments in values.yaml (`make chart`).

    values.yaml (defaults, comments)  ->  Value...  ->  a closed JSON schema, rows of a table
    settings.py of the operator       ->  the schema of `settings`, further rows

The comment of a value is above it. A line `# schema: ...` adds keywords to the JSON schema that is derived from the default. A
mapping without such a line is a section: it allows only the keys in values.yaml, and each of them has a comment.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic.alias_generators import to_camel

from dreambooth_operator.settings import Settings

CHART = Path(__file__).parent / "dreambooth-operator"
VALUES, SCHEMA, README = CHART / "values.yaml", CHART / "values.schema.json", CHART / "README.md"
BEGIN, END = "<!-- values: made by `make chart` -->\n", "<!-- end of values -->\n"
"""Markers around the table in the README."""
SCHEMA_LINE = "schema: "
SETTINGS = "settings"
SET_BY_THE_CHART = {
    "dns_namespaces",
    "dns_networks",
    "identity",
    "image_pull_policy",
    "lease_name",
    "monitoring_namespaces",
    "namespace",
    "namespace_selector",
    "namespaces",
    "network_policies",
    "port",
    "trainer_image",
}
"""Settings that templates derive from other values."""
FROM_A_PARENT = {
    "global": {
        "type": "object",
        "description": "Global values of a parent chart; not used.",
    },
    "enabled": {"type": "boolean", "description": "Condition with which a parent chart can enable this chart."},
}
"""Keys that Helm or a parent chart adds to the values."""
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class CommentMissing(ValueError):
    """A value has no comment."""


class Value(NamedTuple):
    """A value, or a section of values."""

    path: tuple[str, ...]
    default: Any
    description: str
    extra: Mapping[str, Any]
    """Keywords of its schema line."""
    children: "tuple[Value, ...]"
    """The values of a section; otherwise empty."""


def read_values(text: str) -> tuple[Value, ...]:
    """Reads the values from the text of values.yaml.

    Raises:
        CommentMissing: a value has no comment.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return tuple(_read(root, text.splitlines(), yaml.safe_load(text), ()))


def schema_of(values: tuple[Value, ...]) -> dict[str, Any]:
    """The JSON schema, in a draft that all versions of Helm support."""
    section = _section(values)
    section["properties"] |= FROM_A_PARENT
    return {"$schema": "http://json-schema.org/draft-07/schema#", **section}


def table_of(values: tuple[Value, ...]) -> str:
    """The table of the README."""
    rows = ["| value | type | default | |", "|---|---|---|---|", *map(_cells, _described(values))]
    return "\n".join(rows) + "\n"


def with_table(readme: str, table: str) -> str:
    """The README with a new table."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _read(
    node: yaml.MappingNode, lines: list[str], data: Mapping[str, Any], parent: tuple[str, ...]
) -> Iterator[Value]:
    for key, child in node.value:
        path = (*parent, key.value)
        description, extra = _comment(lines, key.start_mark.line, key.start_mark.column)
        if not description:
            raise CommentMissing(
                f"{'.'.join(path)} of values.yaml has no comment: describe the value in a comment above it"
            )
        default = data[key.value]
        is_section = isinstance(child, yaml.MappingNode) and not extra and path != (SETTINGS,)
        children = tuple(_read(child, lines, default, path)) if is_section else ()
        yield Value(path, default, description, extra, children)


def _comment(lines: list[str], line: int, column: int) -> tuple[str, dict[str, Any]]:
    """The comment above a line, at the same column: its text, and the keywords of its schema line."""
    prefix = " " * column + "#"
    words: list[str] = []
    extra: dict[str, Any] = {}
    while line and lines[line - 1].startswith(prefix):
        line -= 1
        text = lines[line].strip("# ")
        if text.startswith(SCHEMA_LINE):
            extra = yaml.safe_load(text.removeprefix(SCHEMA_LINE))
        else:
            words.insert(0, text)
    return " ".join(words), extra


def _described(values: tuple[Value, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Each value, section and setting, with its schema."""
    for value in values:
        yield value.path, _schema(value)
        yield from _described(value.children)
        if value.path == (SETTINGS,):
            yield from (((SETTINGS, name), schema) for name, schema in _settings(value.default).items())


def _section(values: tuple[Value, ...]) -> dict[str, Any]:
    # Required: Helm removes keys with the value null, but templates need them.
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [value.path[-1] for value in values],
        "properties": {value.path[-1]: _schema(value) for value in values},
    }


def _schema(value: Value) -> dict[str, Any]:
    if value.path == (SETTINGS,):
        properties = _settings(value.default)
        return {
            "description": value.description,
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
        }
    if value.children:
        return {"description": value.description, **_section(value.children)}
    known = {"description": value.description, "type": TYPES[type(value.default)], "default": value.default}
    return {**known, **value.extra}


def _settings(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The schema of each setting of the operator, with the defaults of the chart."""
    properties = Settings.model_json_schema()["properties"]
    found = {to_camel(name): schema for name, schema in properties.items() if name not in SET_BY_THE_CHART}
    return {
        name: {
            **{key: entry for key, entry in schema.items() if key != "title"},
            "description": " ".join(schema["description"].split()),
            "default": given.get(name, schema["default"]),
        }
        for name, schema in found.items()
    }


def _cells(described: tuple[tuple[str, ...], Mapping[str, Any]]) -> str:
    """A row of the table; a section has neither type nor default."""
    path, schema = described
    default = "" if "properties" in schema else f"`{json.dumps(schema['default'])}`"
    kind = "" if "properties" in schema else _type(schema)
    cells = f"`{'.'.join(path)}`", kind, default, schema["description"]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    return f"{_type(schema['items'])}[]" if "items" in schema else str(schema["type"])


def main() -> None:
    """Writes both files."""
    values = read_values(VALUES.read_text())
    SCHEMA.write_text(json.dumps(schema_of(values), indent=2) + "\n")
    README.write_text(with_table(README.read_text(), table_of(values)))


if __name__ == "__main__":
    main()
