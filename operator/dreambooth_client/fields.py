"""Fields of manifests."""

from collections.abc import Mapping
from typing import Any


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with some of them replaced; mappings are merged, so that their other fields remain."""
    result = dict(fields)
    for name, value in changes.items():
        before = result.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = merged(before, value)
        result[name] = value
    return result
