from typing import Any

import pytest

from dreambooth_api.fields import Fields
from dreambooth_api.model_families import FAMILIES, find_unsupported

FLOW, ALL = FAMILIES["Flux2KleinPipeline"], FAMILIES["StableDiffusionXLPipeline"]


@pytest.mark.parametrize(
    ("spec", "field", "remedy"),
    [
        ({"training": {"trainTextEncoder": True}}, "spec.training.trainTextEncoder", "Set it to false"),
        ({"training": {"minSnrGamma": 5}}, "spec.training.minSnrGamma", "Remove it"),
        ({"output": {"formats": ["diffusers", "comfyui"]}}, "spec.output.formats[1]", "Choose diffusers"),
    ],
)
def test_what_a_family_does_not_support(spec: dict[str, Any], field: str, remedy: str) -> None:
    (problem,) = find_unsupported(FLOW, Fields(spec, ()))
    assert problem.field == field
    assert str(problem).startswith(field) and "is not supported for FLUX.2 klein" in str(problem)
    assert remedy in str(problem)
    assert not list(find_unsupported(ALL, Fields(spec, ())))


def test_defaults_are_supported_by_every_family() -> None:
    for family in FAMILIES.values():
        assert not list(find_unsupported(family, Fields({}, ())))
