"""What a scene may hold, and what its author reads about mistakes."""

from typing import Any

import pytest

from dreambooth_api.scene import SceneSampler, check_scene
from dreambooth_api.training import Sampler


def complaints(**changes: Any) -> list[str]:
    scene, problems = check_scene({"prompts": ["a {identifier} {class}"], **changes})
    assert (scene is None) == bool(problems)
    return [str(problem) for problem in problems]


def test_a_prompt_is_enough() -> None:
    scene, problems = check_scene({"prompts": ["a {identifier} {class} on the moon"]})
    assert scene is not None and problems == []
    assert (scene.per_prompt, scene.seed, scene.size, scene.step) == (4, 0, None, None)


def test_all_fields() -> None:
    assert (
        complaints(
            negativePrompt="a {class} in the rain",
            perPrompt=8,
            seed=2**32 - 1,
            sampler={"scheduler": "ddim", "steps": 30, "guidanceScale": 7.5},
            size={"width": 768, "height": 512},
            adapterScale=0.5,
            step=200,
        )
        == []
    )


def test_what_is_not_given_is_as_in_the_samples() -> None:
    samples = Sampler(scheduler="dpm-solver++", steps=20, guidance_scale=5)
    assert SceneSampler().over(samples) == samples
    assert SceneSampler(steps=9).over(samples) == Sampler(scheduler="dpm-solver++", steps=9, guidance_scale=5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"prompts": []},
            "spec.prompts: [] should have at least 1 item after validation, not 0. Give a list of 1 to 50 entries.",
        ),
        ({"prompts": ["a {Klass}"]}, "spec.prompts[0]: 'a {Klass}' has the unknown placeholder {Klass}."),
        ({"prompts": ["a dog", "a {class"]}, "spec.prompts[1]: 'a {class' has an unmatched brace."),
        ({"prompts": ["a" * 2001]}, "Give text of 1 to 2000 characters."),
        ({"negativePrompt": "{Klass}"}, "spec.negativePrompt: '{Klass}' has the unknown placeholder {Klass}."),
        ({"perPrompt": 0}, "spec.perPrompt: 0 should be greater than or equal to 1. Give a whole number, at least 1"),
        ({"seed": -1}, "spec.seed: -1 should be greater than or equal to 0."),
        ({"sampler": {"steps": 0}}, "spec.sampler.steps: 0 should be greater than or equal to 1."),
        ({"sampler": {"guidance": 5}}, "spec.sampler.guidance: 5 is an unknown field. Write guidanceScale."),
        ({"size": {"width": 68, "height": 64}}, "spec.size.width: 68 should be a multiple of 8."),
        ({"size": {"width": 64}}, "spec.size.height: None is missing."),
        ({"size": {"width": 64, "height": 4096}}, "spec.size.height: 4096 should be less than or equal to 2048."),
        ({"adapterScale": 11}, "spec.adapterScale: 11 should be less than or equal to 10."),
        ({"step": 0}, "spec.step: 0 should be greater than or equal to 1."),
        ({"prompt": "a dog"}, "spec.prompt: 'a dog' is an unknown field. Write prompts."),
        (
            {"negativePrompt": "red", "sampler": {"guidanceScale": 1}},
            "spec.negativePrompt: 'red' has no effect, because the guidance scale is 1. Set sampler.guidanceScale above 1",
        ),
    ],
)
def test_a_mistake_names_field_value_and_remedy(changes: dict[str, Any], said: str) -> None:
    (complaint,) = complaints(**changes)
    assert said in complaint


def test_all_mistakes_are_reported_at_once() -> None:
    said = complaints(prompts=["a {Klass}", ""], seed=-1, negativePrompt="{")
    assert [one.partition(":")[0] for one in said] == [
        *("spec.prompts[1]", "spec.seed", "spec.prompts[0]", "spec.negativePrompt"),
    ]


@pytest.mark.parametrize(
    "data", [None, [], "prompts", {}, {"prompts": "a dog"}, {"prompts": [1, None]}, {"sampler": 1}]
)
def test_anything_is_read_without_an_exception(data: Any) -> None:
    scene, problems = check_scene(data)
    assert scene is None and problems
