"""Tests of dreambooth_api.validation and of the rules in dreambooth_api.contradictions."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dreambooth_api.job import DreamBoothJobSpec, Metadata
from dreambooth_api.model_families import FAMILIES
from dreambooth_api.runtime import DreamBoothRuntimeSpec
from dreambooth_api.training import TrainConfig
from dreambooth_api.validation import PATTERNS, check_files, check_files_of, check_settings
from dreambooth_trainer.data.own_class_images import INSPECTIONS

SOUND: dict[str, Any] = {
    "model": {"source": "embedded://emoji"},
    "subject": {"class": "dog", "images": {"path": "photos"}},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folder of photos that the sound spec names."""
    folder = tmp_path_factory.mktemp("manifest")
    (folder / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(folder / "photos" / "a.png")
    return folder


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """A sound spec with some fields set, by their path."""
    spec = copy.deepcopy(SOUND)
    for path, value in changes.items():
        *parents, name = path.split(".")
        section = spec
        for parent in parents:
            section = section.setdefault(parent, {})
        section[name] = value
    return spec


def test_sound_sections_become_settings() -> None:
    config, problems = check_settings(
        changed({"training.learningRate": 1, "training.lora.rank": 4, "training.method": "lora"})
    )
    assert problems == []
    assert isinstance(config, TrainConfig)
    assert (config.training.learning_rate, config.training.lora.rank) == (1.0, 4)


# Fields that can be wrong independently of each other: path, wrong value, words of the remedy.
SINGLE: list[tuple[str, Any, str]] = [
    ("training.steps", 0, "at least 1, at most 1000000"),
    ("training.batchSize", "4", "a whole number"),
    ("training.learningRate", 2.5, "above 0, at most 1"),
    ("training.maxGradNorm", float("nan"), "above 0"),
    ("training.resolution", 65, "a multiple of 8"),
    ("training.mixedPrecision", False, "in quotes, since YAML"),
    ("training.lrScheduler", "cosin", "constant, linear or cosine"),
    ("training.seed", -1, "below 2147483648"),
    ("training.learning_rate", 1e-4, "Write learningRate"),
    ("training.gradientAccumulationStep", 2, "Write gradientAccumulationSteps"),
    ("training.zeroStage", 2, "Move it to spec.deepspeed.zeroStage"),
    ("training.flux", 1, "Remove it; the fields here are steps"),
    ("training.optimizer", None, "a section of beta1, beta2"),
    ("evaluation", [], "a section of enabled, encoder"),
    ("samples.prompts", "a {identifier} {class}", "a list of 0 to 50 entries"),
    ("output.formats", [], "1 to 3 entries"),
    ("checkpoints.keep", True, "a whole number"),
    ("prior.sampler.scheduler", "euler", "euler-ancestral"),
    ("prior.weight", None, "a number"),
    ("model.variant", "fp/16", "letters, digits and _, such as fp16"),
    ("model.variant", 16, 'in quotes: "16"'),
    ("subject.identifier", True, "yes, no, on or off as true or false, so put it in quotes"),
    ("training.warmupSteps", "400", "a whole number, at least 0, at most 100000, without quotes"),
    ("training.trainTextEncoder", "true", "true or false, without quotes"),
    ("deepspeed.zeroStage", "2", "auto, 0, 1, 2 or 3, without quotes"),
    ("prior.path", "class-images", "Move it to spec.prior.source.path"),
    ("prior.rank", 4, "Remove it; the fields here are enabled"),
    ("training.rank", 4, "Move it to spec.training.lora.rank"),
    ("prior.guidanceScale", 4, "Move it to spec.prior.sampler.guidanceScale"),
    ("path", "photos", "Move it to spec.subject.images.path"),
    ("prompt", "a dog", "Move it to spec.subject.prompt or spec.prior.prompt"),
    ("subject.class", "", "1 to 60 characters"),
    ("subject.images.pth", "photos", "Write path"),
]


@pytest.mark.parametrize(("path", "value", "remedy"), SINGLE, ids=[f"{path}={value}" for path, value, _ in SINGLE])
def test_a_wrong_field_is_named_with_value_and_remedy(path: str, value: Any, remedy: str) -> None:
    config, problems = check_settings(changed({path: value}))
    assert config is None
    (problem,) = problems
    assert problem.field == f"spec.{path}"
    assert problem.value is value
    assert remedy in problem.remedy


@given(rows=st.lists(st.sampled_from(SINGLE), min_size=1))
def test_every_wrong_field_is_reported(rows: list[tuple[str, Any, str]]) -> None:
    _, problems = check_settings(changed({path: value for path, value, _ in rows}))
    assert {problem.field for problem in problems} == {f"spec.{path}" for path, _, _ in rows}


@pytest.mark.parametrize("spec", [None, [], "steps", 3, {}, {"subject": None}, {3: 4}, {"subject": {"images": 1}}])
def test_every_yaml_document_gets_problems(spec: Any) -> None:
    config, problems = check_settings(spec)
    assert config is None
    assert problems


def test_missing_fields_are_named() -> None:
    _, problems = check_settings({"model": {}, "subject": {}})
    assert [(problem.field, problem.message) for problem in problems] == [
        ("spec.model.source", "is missing"),
        ("spec.subject.class", "is missing"),
        ("spec.subject.images", "is missing"),
    ]


# Fields that contradict each other: changes, the reported field, words of the message or remedy.
TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    ({"subject.prompt": "a {identifier}"}, "subject.prompt", "has no {class}"),
    ({"subject.prompt": "a {class}"}, "subject.prompt", "has no {identifier}"),
    ({"subject.prompt": "{identifier} {class} {name}"}, "subject.prompt", "unknown placeholder {name}"),
    ({"subject.prompt": "{identifier} {class:d}"}, "subject.prompt", "unknown placeholder {class:d}"),
    ({"subject.prompt": "{identifier} {class} {"}, "subject.prompt", "an unmatched brace"),
    ({"subject.prompt": "{identifier} {{class}}"}, "subject.prompt", "an unmatched brace"),
    ({"subject.captions": {"1.jpg": "a dog"}}, "subject.captions.1.jpg", "has no {identifier}"),
    (
        {"subject.captions": {"1.jpg": "a {identifier} {breed}"}},
        "subject.captions.1.jpg",
        "unknown placeholder {breed}",
    ),
    ({"subject.captions": {"1.jpg": 3, "2.jpg": "a dog"}}, "subject.captions.2.jpg", "has no {identifier}"),
    ({"prior.prompt": "a dog"}, "prior.prompt", "has no {class}"),
    ({"prior.prompt": "a {identifier} {class}"}, "prior.prompt", "has {identifier}"),
    ({"samples.prompts": ["a {class}", "a {klass}"]}, "samples.prompts[1]", "unknown placeholder {klass}"),
    ({"samples.prompts": [3, "a {klass}"]}, "samples.prompts[1]", "unknown placeholder {klass}"),
    ({"samples.prompts": ["a }"]}, "samples.prompts[0]", "an unmatched brace"),
    ({"subject.images": {}}, "subject.images", "has no source"),
    ({"subject.images.configMap": {"name": "photos"}}, "subject.images", "several sources"),
    ({"subject.images.configMap": {"name": ""}}, "subject.images", "several sources"),
    ({"prior.source": {}}, "prior.source", "has no source of the class images"),
    ({"prior.source": {"path": "a", "image": {"reference": "b"}}}, "prior.source", "several sources"),
    ({"prior": {"enabled": False, "source": {"path": "a"}}}, "prior.source", "has no effect, because prior.enabled"),
    ({"subject.identifier": "dog"}, "subject.identifier", "is also a word of the class"),
    ({"subject.identifier": "Beach"}, "subject.identifier", "is also a word of the class"),
    (
        {"subject.identifier": "tin", "evaluation.contexts": ["in tin", "at sea"]},
        "subject.identifier",
        "is also a word",
    ),
    ({"training.steps": 10, "training.warmupSteps": 10}, "training.warmupSteps", "below 10"),
    (
        {"training.stopping": "best", "evaluation.enabled": False},
        "training.stopping",
        "needs the figures of the evaluation, but evaluation.enabled is false. Set evaluation.enabled to true",
    ),
    (
        {"training.stopping": "best", "training.steps": 1},
        "training.stopping",
        "because training.steps is 1. Raise training.steps",
    ),
    ({"training.textEncoderLearningRate": 1e-5}, "training.textEncoderLearningRate", "trainTextEncoder is false"),
    ({"training.lora.rank": 4}, "training.lora", "training.method is full"),
    ({"prior.enabled": False, "prior.images": 20}, "prior.images", "prior.enabled is false. Set prior.enabled to true"),
    ({"prior.target": "noise", "prior.noisings": 2}, "prior.noisings", "prior.target is noise"),
    ({"prior.unconditionalShare": 0, "prior.otherWords": 2}, "prior.otherWords", "prior.unconditionalShare is 0"),
    ({"samples.prompts": [], "samples.perPrompt": 2}, "samples.perPrompt", "samples.prompts is []"),
    ({"evaluation": {"enabled": False, "perPrompt": 2}}, "evaluation.perPrompt", "evaluation.enabled is false"),
    ({"model": {"source": "hf://a/b", "config": "a/b"}}, "model.config", "with its own configuration"),
    ({"model": {"source": "a.safetensors", "variant": "fp16"}}, "model.variant", "is a single file"),
    ({"model.tokenSecret": {"name": "hub"}}, "model.tokenSecret", "no repository of the hub"),
    (
        {"monitoring": {"wandb": {"project": "dogs", "apiKeySecret": {"name": "key"}}}},
        "monitoring.wandb.apiKeySecret",
        "monitoring.wandb.mode is offline",
    ),
    (
        {"output": {"upload": {"to": "s3://results", "private": False}}},
        "output.upload.private",
        "no repository of the hub",
    ),
    ({"training.ema.decay": 0.9}, "training.ema.decay", "training.ema.enabled is false"),
    (
        {"deepspeed.zeroStage": 0, "deepspeed.offload.optimizer": True},
        "deepspeed.offload.optimizer",
        "needs ZeRO stage 1 or higher, or auto",
    ),
    (
        {"deepspeed.zeroStage": 2, "deepspeed.offload.parameters": True},
        "deepspeed.offload.parameters",
        "needs ZeRO stage 3, or auto",
    ),
    (
        {"deepspeed.zeroStage": 0, "training.mixedPrecision": "fp16"},
        "training.mixedPrecision",
        "needs ZeRO stage 1 or higher, whose optimizers scale the loss",
    ),
    (
        {"training.method": "lora", "training.lora.useDora": True, "output.formats": ["comfyui"]},
        "training.lora.useDora",
        "or remove comfyui from output.formats",
    ),
    (
        {"training.method": "lora", "training.lora.useDora": True, "training.trainTextEncoder": True},
        "training.lora.useDora",
        "or set training.trainTextEncoder to false",
    ),
    ({"training.lora.useDora": True}, "training.lora", "training.method is full"),
    ({"training.quantization": "nf4"}, "training.quantization", "Set training.method to lora"),
    (
        {"training.method": "lora", "training.quantization": "int8", "deepspeed.zeroStage": 3},
        "training.quantization",
        "Set deepspeed.zeroStage to 2 or lower",
    ),
    (
        {"training.method": "lora", "training.quantization": "nf4", "deepspeed.offload.parameters": True},
        "training.quantization",
        "deepspeed.offload.parameters to false",
    ),
    ({"model.source": "ftp://host/x"}, "model.source", "unknown scheme ftp://"),
    ({"model.source": "hf://name"}, "model.source", "hf://organisation/name"),
    ({"model.source": "embedded://emojis"}, "model.source", "no embedded model is named 'emojis'"),
    ({"evaluation.encoder": "s3://x/y"}, "evaluation.encoder", "unknown scheme s3://"),
    ({"model.revision": "main"}, "model.revision", "no repository of the hub"),
]


REX = {"name": "rex", "class": "dog", "identifier": "sks", "images": {"path": "rex"}}
TOM = {"name": "tom", "class": "cat", "images": {"path": "tom"}}
# The same of several subjects: changes of the second one, and of the spec.
OF_SEVERAL: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"subject": SOUND["subject"]}, "subjects", "is given in addition to subject. Remove one of them"),
    ({"name": "rex"}, {}, "subjects[1].name", "is the name of another subject too"),
    ({"name": "class"}, {}, "subjects[1].name", "is a placeholder for each subject: {class}"),
    ({"identifier": "SKS"}, {}, "subjects[1].identifier", "is the identifier of another subject too"),
    ({"identifier": "dog"}, {}, "subjects[1].identifier", "a word of the class of another subject"),
    ({"identifier": "cat"}, {}, "subjects[1].identifier", "is also a word of the class"),
    ({"prompt": "a {class}"}, {}, "subjects[1].prompt", "has no {identifier}"),
    ({"images": {}}, {}, "subjects[1].images", "has no source of the photos"),
    ({"captions": {"1.jpg": "a cat"}}, {}, "subjects[1].captions.1.jpg", "has no {identifier}"),
    (
        {},
        {"samples": {"prompts": ["{rex} and {max}"]}},
        "samples.prompts[0]",
        "Use braces for {identifier}, {class}, {rex} and {tom}",
    ),
    ({}, {"prior": {"prompt": "a {class} with {rex}"}}, "prior.prompt", "unknown placeholder {rex}"),
    ({}, {"prior": {"source": {"path": "dogs"}}}, "prior.source", "but the subjects have several: cat, dog"),
]


@pytest.mark.parametrize(("second", "spec", "path", "words"), OF_SEVERAL)
def test_contradictions_of_several_subjects(
    second: dict[str, Any], spec: dict[str, Any], path: str, words: str
) -> None:
    manifest = {"model": SOUND["model"], "subjects": [REX, {**TOM, **second}], **spec}
    for further in ({}, {"checkpoints": {"keep": 0}}):
        _, problems = check_settings({**manifest, **further})
        assert any(
            problem.field == f"spec.{path}" and words in f"{problem.message}. {problem.remedy}" for problem in problems
        )


def test_several_subjects() -> None:
    manifest = {"model": SOUND["model"], "subjects": [REX, TOM, {**TOM, "name": "tiger-2"}]}
    config, problems = check_settings({**manifest, "samples": {"prompts": ["{rex}, {tom} and {tiger-2}"]}})
    assert problems == []
    assert config is not None
    assert list(config.all_subjects) == ["subjects[0]", "subjects[1]", "subjects[2]"]
    assert [one.called for one in config.all_subjects.values()] == ["rex", "tom", "tiger-2"]
    assert (config.classes, config.class_images) == (["dog", "cat"], 400)
    assert (config.sampled_prompts, TrainConfig.model_validate(manifest).sampled_prompts) == (1, 4 * 3)
    assert "cat" not in config.other_classes


def test_a_subject_is_required() -> None:
    _, problems = check_settings({"model": SOUND["model"]})
    assert [(problem.field, problem.message) for problem in problems] == [("spec.subject", "is missing")]


@pytest.mark.parametrize("broken", [3, "rex", {"name": 3}, [3], [], [{}, {}], [REX, 3], [REX, {**TOM, "captions": 3}]])
def test_broken_subjects_are_reported(broken: Any) -> None:
    _, problems = check_settings({"model": SOUND["model"], "subjects": broken})
    assert problems
    assert all(problem.field.startswith("spec.subjects") for problem in problems)


@pytest.mark.parametrize(("changes", "path", "words"), TOGETHER, ids=[f"{row[1]}-{row[2]}" for row in TOGETHER])
def test_contradictions_are_reported_with_other_problems(
    changes: dict[str, Any], path: str, words: str, photos: Path
) -> None:
    _, alone = check_settings(changed(changes))
    _, together = check_settings(changed({**changes, "checkpoints.keep": 0}))
    for problems in (alone, together):
        assert any(
            problem.field == f"spec.{path}" and words in f"{problem.message}. {problem.remedy}" for problem in problems
        )
    assert "spec.checkpoints.keep" in {problem.field for problem in together}


@pytest.mark.parametrize(
    "changes",
    [
        {"deepspeed.offload": {"optimizer": True, "parameters": True}},
        {"deepspeed.zeroStage": 3, "deepspeed.offload.parameters": True},
        {"training.trainTextEncoder": True, "training.textEncoderLearningRate": 1e-5},
        {"training.steps": 10, "training.warmupSteps": 9},
        {"training.steps": 2, "training.stopping": "best"},
        {"training.steps": 1, "training.stopping": "last", "evaluation.enabled": False},
        {"training.ema": {"enabled": True, "decay": 0.9}, "training.method": "lora", "training.lora": {"rank": 1}},
        {"training.steps": 10, "checkpoints.intervalSeconds": 100},
        {"subject.identifier": "identifier"},
        {"subject.identifier": "sks", "model.source": "hf://a-b/c.d_1", "model.revision": "main"},
        {"samples.prompts": []},
    ],
)
def test_sound_combinations_are_left_alone(changes: dict[str, Any]) -> None:
    assert check_settings(changed(changes))[1] == []


def test_a_rule_is_silent_where_its_fields_are_unsound() -> None:
    _, problems = check_settings(changed({"training.steps": "many", "training.warmupSteps": 500}))
    assert [problem.field for problem in problems] == ["spec.training.steps"]


def test_files_that_are_named_must_exist(tmp_path: Path) -> None:
    spec = changed({"model.source": "nowhere", "evaluation.encoder": "/no/encoder", "training.steps": 0})
    problems, _ = check_files_of(spec, check_settings(spec)[1], tmp_path, INSPECTIONS)
    assert {problem.field for problem in problems} == {
        "spec.model.source",
        "spec.evaluation.encoder",
        "spec.subject.images",
    }


def test_photos_are_checked_at_the_given_resolution(photos: Path) -> None:
    problems, _ = check_files_of(changed({"training.resolution": 512}), [], photos, INSPECTIONS)
    assert [problem.message for problem in problems] == ["is only 64x64 for a training resolution of 512"]
    found = check_files_of(changed({"training.resolution": 128, "model.source": "photos"}), [], photos, INSPECTIONS)
    assert found == ([], ["a.png is 64x64 and is enlarged to 128x128"])


def test_files_of_sound_settings(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = check_settings(changed({"evaluation.encoder": "nowhere"}))
    assert config is not None
    monkeypatch.chdir(photos)
    problems, _ = check_files(config, INSPECTIONS)
    assert [problem.field for problem in problems] == ["spec.evaluation.encoder"]


def patterns_in(node: Any) -> set[str]:
    """All regular expressions of a JSON schema."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = {node["pattern"]} if isinstance(node, dict) and isinstance(node.get("pattern"), str) else set()
    return own.union(*map(patterns_in, children))


def test_no_message_asks_for_a_regular_expression() -> None:
    for model in (Metadata, DreamBoothJobSpec, DreamBoothRuntimeSpec):
        assert patterns_in(model.model_json_schema()) <= set(PATTERNS)


def test_settings_that_a_model_on_the_disk_does_not_support(tmp_path: Path) -> None:
    for name in FAMILIES["Flux2KleinPipeline"].folders:
        (tmp_path / "model" / name).mkdir(parents=True)
    (tmp_path / "model" / "model_index.json").write_text(json.dumps({"_class_name": "Flux2KleinPipeline"}))
    spec = changed({"model.source": "model", "training.minSnrGamma": 5})
    problems, _ = check_files_of(spec, [], tmp_path, {})
    assert [problem.field for problem in problems] == ["spec.training.minSnrGamma"]
