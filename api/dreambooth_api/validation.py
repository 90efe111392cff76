"""Finds all mistakes in a manifest at once, each with field, value and remedy, before anything is loaded.

The trainer and the command line call it and pass the function that opens photos. The bounds of a field come from the JSON
schema of the models, so that each is written once, in `training.py`; rules over several fields are in
`contradictions.py`.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dreambooth_api.contradictions import find_contradictions
from dreambooth_api.failures import Problem
from dreambooth_api.fields import Fields, OneSubject
from dreambooth_api.files import located
from dreambooth_api.model_families import find_unsupported
from dreambooth_api.model_files import family_of, why_no_base_model, why_no_encoder
from dreambooth_api.sections import ALLOWED_UPLOAD, NAME, QUALIFIED_NAME
from dreambooth_api.training import HUB_URL, S3_URL, SUBDOMAIN, TrainConfig

REMEDIES = {
    "model.source": "Give a folder in diffusers' layout of a supported family, or a .safetensors file of Stable Diffusion",
    "evaluation.encoder": "Give a folder that a CLIP model was saved to",
}
Schema = Mapping[str, Any]
M = TypeVar("M", bound=BaseModel)
KEY = "[key]"
"""The last part of the location of an error about the key of a mapping itself."""
PATTERNS: Mapping[str, str] = {
    f"^{SUBDOMAIN}$": "lower-case letters, digits, - and ., with a letter or digit at both ends and next to each .",
    f"^({SUBDOMAIN})?$": "lower-case letters, digits, - and ., with a letter or digit at both ends and next to each .",
    f"^{QUALIFIED_NAME}$": "a name of up to 63 letters, digits, -, _ and ., with a letter or digit at both ends; a domain and a "
    "/ may be before it, as in example.com/gpu",
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$": "letters, digits, -, _ and ., with a letter or digit at both ends",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "lower-case letters, digits and -, with a letter or digit at both ends",
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$": "lower-case letters, digits and -, a letter first and no - at the end, such as my-dog",
    r"^[^/\x00][^\x00]*$": "a path inside the volume, without a slash at its beginning",
    r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$": "the reference of an image, such as registry.example.com/photos:v1",
    r"^(\*|[A-Za-z0-9]([A-Za-z0-9._/:@-]*[/:@]\*|[A-Za-z0-9._/:@-]*))$": "the reference of an image, or the beginning of some "
    "with /*, :* or @* at its end, such as registry.example.com/team/*",
    r"^[^\s{}][^{}\n]*$": "words in one line, without braces and without a space at the beginning",
    r"^[A-Za-z0-9_]{1,30}$": "1 to 30 letters, digits and _, such as fp16",
    r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$": "an amount, such as 4, 500m or 16Gi",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "letters, digits and _, but no digit first, such as HTTPS_PROXY",
    f"^{SUBDOMAIN}/{NAME}$": "a name with its domain, such as nvidia.com/gpu",
    r"^(auto|[^\s{}]{1,40})$": "auto, or a word of up to 40 characters without spaces and braces",
    r"^[^/\x00][^\x00]*[.]safetensors$": "the path of a .safetensors file, without a slash at its beginning",
    r"^[^\s{}]{1,40}$": "a word of up to 40 characters without spaces and braces",
    f"^({S3_URL}|{HUB_URL})$": "s3://bucket/prefix or hf://owner/name",
    ALLOWED_UPLOAD: "s3://bucket/prefix or hf://owner/name, or the beginning of some with /* at its end, such as s3://bucket/*",
    r"^[A-Za-z0-9._-]+$": "letters, digits, ., _ and -",
    r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$": "letters, digits, -, _ and ., but not two dots at the beginning",
}
"""What each regular expression of a field requires, in words."""

BARE_WORDS = "YAML reads a bare yes, no, on or off as true or false"

InspectPictures = Callable[[Path, Fields], tuple[list[Problem], list[str]]]
"""Inspects the pictures of a folder for the manifest with these fields: problems, and warnings."""
Inspections = Mapping[str, InspectPictures]
"""How the pictures are inspected that a field of the manifest, such as `subject.images.path`, names."""


def check_settings(spec: Any) -> tuple[TrainConfig | None, list[Problem]]:
    """Reads and validates the training sections of the `spec` of a manifest.

    Returns:
        The settings, or None if there are problems; and the problems.
    """
    config, problems = check_fields(spec, TrainConfig, "spec")
    problems += check_contradictions(spec, problems)
    return (None if problems else config), problems


def check_contradictions(spec: Any, known: Sequence[Problem]) -> list[Problem]:
    """Applies the rules over several fields of a manifest's `spec` whose fields are valid by themselves.

    Args:
        spec: the `spec` of a manifest.
        known: problems that `check_fields` found in it.
    """
    return find_contradictions(_fields(spec, known)) if isinstance(spec, Mapping) else []


def check_files(config: TrainConfig, inspections: Inspections) -> tuple[list[Problem], list[str]]:
    """Checks the files that valid settings name: pictures, and models that are paths.

    Args:
        config: the settings.
        inspections: how pictures are inspected.

    Returns:
        Problems, and warnings about the pictures.
    """
    return _check_files(Fields(config.model_dump(by_alias=True), ()), Path(), inspections)


def check_files_of(
    spec: Any, known: Sequence[Problem], folder: Path, inspections: Inspections
) -> tuple[list[Problem], list[str]]:
    """Checks the files that the valid fields of a `spec` name.

    Args:
        spec: the `spec` of a manifest.
        known: problems that `check_fields` found in it.
        folder: where relative paths begin.
        inspections: how pictures are inspected.

    Returns:
        Problems, and warnings about the pictures.
    """
    if not isinstance(spec, Mapping):
        return [], []
    return _check_files(_fields(spec, known), folder, inspections)


def _fields(spec: Mapping[str, Any], known: Sequence[Problem]) -> Fields:
    return Fields(spec, {problem.field for problem in known})


def _check_files(fields: Fields, folder: Path, inspections: Inspections) -> tuple[list[Problem], list[str]]:
    problems, warnings = list(_check_models(fields, folder)), []
    for field, inspect in inspections.items():
        whole = [OneSubject("subject", fields)]
        for one in fields.each_subject() if field.startswith("subject.") else whole:
            path = one.fields.get(field)
            if path is not None:
                found, notes = inspect(located(folder, path), one.fields)
                problems += one.placed(found)
                warnings += one.named(notes)
    return problems, warnings


def _check_models(fields: Fields, folder: Path) -> Iterator[Problem]:
    for path, why in {"model.source": why_no_base_model, "evaluation.encoder": why_no_encoder}.items():
        source = fields.get(path)
        if (
            source is None
            or "://" in source
            or (path.startswith("evaluation.") and not fields.get("evaluation.enabled"))
        ):
            continue
        remedy = "Give a folder or file that exists, hf://organisation/name or embedded://emoji"
        place = located(folder, source)
        if not place.exists():
            yield Problem(f"spec.{path}", source, "does not exist", remedy)
        elif reason := why(place):
            yield Problem(f"spec.{path}", source, reason, REMEDIES[path])
        elif path == "model.source" and (family := family_of(place)):
            yield from find_unsupported(family, fields)


def check_fields(data: Any, model: type[M], path: str) -> tuple[M | None, list[Problem]]:
    """Reads data as a model and validates each field by itself.

    Types are strict, and only the aliases of names are accepted, as in the API server.

    Args:
        data: content of a YAML or JSON document.
        model: the model to read it as.
        path: path of `data` in the manifest; empty for the whole.
    """
    try:
        return model.model_validate(data, strict=True, by_alias=True, by_name=False), []
    except ValidationError as error:
        schema = model.model_json_schema()
        return None, [_translate(details, schema, path) for details in error.errors(include_url=False)]


def _translate(details: ErrorDetails, document: Schema, path: str) -> Problem:
    """Words an error of pydantic for the author of a manifest."""
    location = details["loc"]
    field = path
    for part in location:
        if part != KEY:
            field += f"[{part}]" if isinstance(part, int) and details["type"] != "invalid_key" else f".{part}"
    field, value = field.lstrip("."), details["input"]
    match details["type"]:
        case "missing":
            return Problem(field, None, "is missing", _remedy(_find(document, location), None))
        case "extra_forbidden" | "invalid_key":
            return Problem(
                field, value, "is an unknown field", _likely_name(document, location, path), may_be_newer=True
            )
        case "model_type" | "dict_type":
            return Problem(field, value, "is not a section", _remedy(_find(document, location), value))
        case "string_pattern_mismatch":
            return Problem(field, value, "has the wrong form", _remedy(_find(document, location), value))
        case kind:
            message = re.sub(r"^(Input|String|List|Value) ", "", details["msg"])
            newer = kind == "literal_error" and isinstance(value, str)
            return Problem(field, value, message, _remedy(_find(document, location), value), may_be_newer=newer)


def resolve(node: Schema, document: Schema) -> Schema:
    """Follows a reference of a JSON schema, and takes the type of an optional field.

    Raises:
        ValueError: the field has alternative types, which a structural schema of Kubernetes can't express.
    """
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise ValueError(f"a field can't have alternatives: {node}")
        (node,) = options
    if "$ref" in node:
        node = document["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return node


def _find(document: Schema, location: Sequence[int | str]) -> Schema:
    """The schema of a field; an empty one where the field is unknown."""
    node = document
    for part in location:
        node = resolve(_child(node, part), document)
    return node


def _child(node: Schema, part: int | str) -> Schema:
    """The schema of a part of a list, section or mapping."""
    if entry := entry_of(node):
        return {**entry.value, KEY: entry.key}
    children: Schema = {KEY: node.get(KEY, {}), **node.get("properties", {})}
    return node["items"] if isinstance(part, int) else children.get(part, {})


class Entry(NamedTuple):
    """The schemas of each entry of a mapping."""

    key: Schema
    value: Schema


def entry_of(node: Schema) -> Entry | None:
    """The schemas of the entries of a mapping; None for anything else. pydantic writes a pattern of keys in another place."""
    patterns = node.get("patternProperties", {})
    for pattern, value in patterns.items():
        return Entry({"type": "string", "pattern": pattern, **node.get("propertyNames", {})}, value)
    values = node.get("additionalProperties")
    return Entry({"type": "string", **node.get("propertyNames", {})}, values) if isinstance(values, Mapping) else None


def _remedy(node: Schema, value: Any) -> str:
    """The remedy for a value: what the field accepts, and the quotes where only these are wrong."""
    wanted = _wanted(node, value)
    if isinstance(value, str) and node.get("type") != "string" and _unquoted(value) is not None:
        return f"{wanted}, without quotes"
    if isinstance(value, bool) and node.get("type") == "string":
        return f"{wanted}; {BARE_WORDS}, so put it in quotes"
    if isinstance(value, int | float) and node.get("type") == "string":
        return f'{wanted}, in quotes: "{value}"'
    return wanted


def _unquoted(text: str) -> int | float | bool | None:
    """The number or boolean that a text would be without its quotes."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, int | float) else None


def _wanted(node: Schema, value: Any) -> str:
    """What a field accepts."""
    if "const" in node:
        return f"Write {node['const']}"
    if "enum" in node:
        *others, last = map(str, node["enum"])
        quotes = f" in quotes, since {BARE_WORDS}" if isinstance(value, bool) else ""
        return f"Choose {', '.join(others)} or {last}{quotes}"
    match node.get("type"):
        case "integer":
            return f"Give a whole number{_range(node)}"
        case "number":
            return f"Give a number{_range(node)}"
        case "boolean":
            return "Give true or false"
        case "array":
            return f"Give a list{_size(node, 'minItems', 'maxItems', 'entries')}"
        case "object" if entry_of(node):
            return f"Give names with a value each{_size(node, 'minProperties', 'maxProperties', 'entries')}"
        case "object":
            return f"Give a section of {', '.join(node['properties'])}"
        case _:
            size = _size(node, "minLength", "maxLength", "characters")
            if "pattern" in node:
                return f"Give {PATTERNS[node['pattern']]}{size.replace(' of', ',', 1)}"
            return f"Give text{size}"


def _range(node: Schema) -> str:
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{words} {node[key]:.12g}" for key, words in bounds.items() if key in node]
    if "multipleOf" in node:
        limits.append(f"a multiple of {node['multipleOf']}")
    return ", " + ", ".join(limits) if limits else ""


def _size(node: Schema, minimum: str, maximum: str, unit: str) -> str:
    if maximum not in node:
        return ""
    return f" of {node.get(minimum, 0)} to {node[maximum]} {unit}"


def _likely_name(document: Schema, location: Sequence[int | str], path: str) -> str:
    """The field that was probably meant: a similar name in the same section, else the same name in the nearest section above
    or below.

    In other sections the same name often means something else: the path of the photos is not that of class images. A name of
    several words that exists once is unambiguous.
    """
    *parents, wrong = location
    siblings = list(_find(document, parents).get("properties", {}))
    by_lower = {_squeezed(name): name for name in siblings}
    if close := difflib.get_close_matches(_squeezed(str(wrong)), by_lower, n=1):
        return f"Write {by_lower[close[0]]}"
    same = [found for found in _paths(document, document) if found[-1] == wrong]
    above_or_below = [
        found for found in same if all(a == b for a, b in zip(found[:-1], map(str, parents), strict=False))
    ]
    telling = same if len(same) == 1 and re.search("[a-z][A-Z]", str(wrong)) else []
    if places := above_or_below or telling:
        nearest = min(map(len, places))
        names = [".".join([path, *place]).lstrip(".") for place in places if len(place) == nearest]
        return f"Move it to {' or '.join(names)}"
    return f"Remove it; the fields here are {', '.join(siblings)}"


def _squeezed(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _paths(node: Schema, document: Schema) -> Iterator[tuple[str, ...]]:
    """Paths of all fields below a node."""
    for name, child in resolve(node, document).get("properties", {}).items():
        yield (name,)
        for below in _paths(child, document):
            yield (name, *below)
