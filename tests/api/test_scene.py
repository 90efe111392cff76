"""What a scene may hold, and what its author reads about mistakes."""

from typing import Any

import pytest

from dreambooth_api.scene import SceneSampler, check_scene
from dreambooth_api.training import Sampler

WORDS = {"identifier": "sks", "class": "dog"}


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


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"source": "hf://studio", **WORDS}, "spec.model.source: 'hf://studio' is no repository of the hub."),
        ({"source": "embedded://dog", **WORDS}, "spec.model.source: 'embedded://dog' is unknown:"),
        ({"source": "model", "revision": "v1"}, "spec.model.revision: 'v1' has no effect"),
        ({"source": "model", "tokenSecret": {"name": "hub"}}, "spec.model.tokenSecret: {'name': 'hub'} has no effect"),
        ({"source": "model", "steps": 9}, "spec.model.steps: 9 is an unknown field."),
        ({"source": "model", "identifier": "two words"}, "Give a word of up to 40 characters"),
        ({"source": "model", "adapters": [{}]}, "spec.model.adapters[0].source: None is missing."),
        (
            {"source": "model", "adapters": [{"source": "lora", "scale": 11}]},
            "spec.model.adapters[0].scale: 11 should be less than or equal to 10.",
        ),
        (
            {"source": "model", "adapters": [{"source": "lora", "file": "lora.bin"}]},
            "Give the path of a .safetensors file",
        ),
        (
            {"source": "model", "adapters": [{"source": "embedded://emoji"}]},
            "spec.model.adapters[0].source: 'embedded://emoji' is no source of adapters. Write hf://organisation/name",
        ),
        (
            {"source": "model", "adapters": [{"source": "lora", "revision": "v1"}]},
            "spec.model.adapters[0].revision: 'v1' has no effect, because its source is no repository of the hub.",
        ),
        (
            {"source": "embedded://emoji", "class": "dog"},
            "spec.prompts[0]: 'a {identifier} {class}' has {identifier}, but the model is in no folder of a run that says what "
            "it stands for. Set model.identifier, or write the word.",
        ),
    ],
    ids=str,
)
def test_a_mistake_in_the_model_names_field_value_and_remedy(model: dict[str, Any], said: str) -> None:
    (complaint,) = complaints(model=model)
    assert said in complaint


def test_models_whose_words_are_given_or_may_be_those_of_a_run() -> None:
    adapter = {"source": "pvc://runs/dog/model/lora", "scale": 0.5}
    hub = {"source": "hf://studio/model", "tokenSecret": {"name": "hub"}, "revision": "v1"}
    for model in (
        {**hub, **WORDS},
        {"source": "pvc://runs/dog/model/diffusers"},
        {**hub, "adapters": [adapter]},
        {"source": "pvc://models/base", "tokenSecret": {"name": "hub"}, "adapters": [{"source": "hf://studio/style"}]},
    ):
        assert complaints(model=model) == []
    assert complaints(model=hub, prompts=["a dog"]) == []


@pytest.mark.parametrize("field", ["step", "adapterScale"])
def test_fields_of_a_run_have_no_effect_with_a_model(field: str) -> None:
    (complaint,) = complaints(**{"model": {"source": "model"}, field: 1})
    assert complaint.startswith(
        f"spec.{field}: 1 has no effect, because the scene names a model, not a run. Remove it, or "
    )


def test_all_mistakes_are_reported_at_once() -> None:
    said = complaints(prompts=["a {Klass}", ""], seed=-1, negativePrompt="{")
    assert [one.partition(":")[0] for one in said] == [
        *("spec.prompts[1]", "spec.seed", "spec.prompts[0]", "spec.negativePrompt"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        *(None, [], "prompts", {}, {"prompts": "a dog"}, {"prompts": [1, None]}, {"sampler": 1}),
        *({"model": model} for model in (1, {}, {"source": 1}, {"source": "a", "adapters": [1, {"source": 2}]})),
    ],
)
def test_anything_is_read_without_an_exception(data: Any) -> None:
    scene, problems = check_scene(data)
    assert scene is None and problems
