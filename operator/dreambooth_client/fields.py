"""Fields of manifests."""

from collections.abc import Mapping
from typing import Any


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with some of them replaced; mappings are merged, so that their other fields remain."""
    result = dict(fields)
    for name, value in changes.items():
        before = result.get(name)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        result[name] = merged(before, value) if both else value  # type: ignore[arg-type]
    return result
