"""The settings of a scene: pictures of the subject that a run's model generates, at any time during or after its training,
or that any other model generates.

Read by the trainer (as JSON), by the command line, and by the operator as a part of a `DreamBoothScene`. Importable
without torch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from dreambooth_api.contradictions import stray_placeholders
from dreambooth_api.failures import Problem
from dreambooth_api.prompts import ANY_SUBJECT, placeholders
from dreambooth_api.scene_model import SceneModel, is_of_no_run, scene_model_contradictions, unknown_words
from dreambooth_api.schedulers import Scheduler
from dreambooth_api.training import SUBJECT_NAME, DenoisingSteps, GuidanceScale, Sampler, Section
from dreambooth_api.validation import check_fields

LONGEST_PROMPT = 2000
"""Characters of a prompt: about as much as the 512 tokens that the longest text encoders read."""

ScenePrompt = Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]
Pixels = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]


class SceneSampler(Section):
    """How the pictures are generated. Fields that are not given have the values of the run's samples."""

    scheduler: Scheduler | None = None
    """See `prior.sampler.scheduler`. Default: that of the run's samples."""
    steps: DenoisingSteps | None = None
    """Denoising steps for a picture. Default: those of the run's samples."""
    guidance_scale: GuidanceScale | None = None
    """Classifier-free guidance scale. Default: that of the run's samples."""

    def over(self, default: Sampler) -> Sampler:
        """The settings of a sampler, replaced where this one has a value."""
        return default.model_copy(update=self.model_dump(exclude_none=True))


class PictureSize(Section):
    """Width and height of the pictures."""

    width: Pixels
    """Pixels in a row."""
    height: Pixels
    """Pixels in a column."""


class Scene(Section):
    """What to generate."""

    model: SceneModel | None = None
    """The model that generates, if it is not that of a run."""
    prompts: Annotated[list[ScenePrompt], Field(min_length=1, max_length=50)]
    """Prompts of the pictures. `{identifier}` and `{class}` stand for those of the run or of `model`, here and in
    `negativePrompt`. If the run has several subjects, write their names instead: `{name}` stands for the identifier and the
    class of the subject of that name."""
    negative_prompt: Annotated[str, Field(max_length=LONGEST_PROMPT)] = ""
    """What guidance moves the pictures away from; it needs a guidance scale above 1."""
    per_prompt: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Pictures of each prompt."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the first picture of each prompt; the seeds of the others follow."""
    sampler: SceneSampler = SceneSampler()
    """How the pictures are generated."""
    size: PictureSize | None = None
    """Size of the pictures. Default: squares at the training resolution, or at the resolution of the model."""
    adapter_scale: Annotated[float, Field(ge=0, le=10)] | None = None
    """For a run of method `lora`, scale of the change that was learned: at 0 the pictures are those of the base model.
    Default: 1."""
    step: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Step of the training whose weights generate the pictures; a checkpoint of it must exist. Default: the finished
    model, or the newest checkpoint of a run that has not finished."""

    @property
    def pictures(self) -> int:
        """Number of the pictures."""
        return len(self.prompts) * self.per_prompt


def check_scene(data: Any) -> tuple[Scene | None, list[Problem]]:
    """Reads and validates the settings of a scene.

    Args:
        data: content of a YAML or JSON document.

    Returns:
        The scene, or None if there are problems; and the problems.
    """
    scene, problems = check_fields(data, Scene, "spec")
    problems += scene_contradictions(data, problems)
    return (None if problems else scene), problems


def scene_contradictions(data: Any, known: Sequence[Problem]) -> list[Problem]:
    """Applies the rules over several fields of a scene whose fields are valid by themselves.

    Args:
        data: content of a YAML or JSON document.
        known: problems that `check_fields` found in it.
    """
    return list(_contradictions(data, {problem.field for problem in known})) if isinstance(data, Mapping) else []


def _contradictions(data: Mapping[str, Any], invalid: set[str]) -> Iterator[Problem]:
    negative = data.get("negativePrompt")
    prompts = data.get("prompts")
    for field, text in _texts(prompts if isinstance(prompts, list) else (), negative).items():
        if isinstance(text, str) and field not in invalid:
            # Whether the run has a subject of that name is checked when the run is known.
            names = (name for name in placeholders(text) if re.fullmatch(SUBJECT_NAME, name))
            model = data.get("model")
            if isinstance(model, Mapping) and is_of_no_run(model):
                yield from unknown_words(field, text, [name for name in ANY_SUBJECT if model.get(name) is not None])
            else:
                yield from stray_placeholders(field, text, [*ANY_SUBJECT, *names])
    yield from scene_model_contradictions(data, invalid)
    sampler = data.get("sampler")
    if negative and isinstance(sampler, Mapping) and sampler.get("guidanceScale") == 1:
        yield negative_prompt_without_guidance(negative)


def texts_of(scene: Scene) -> dict[str, str]:
    """The prompts and the negative prompt, by their fields."""
    return _texts(scene.prompts, scene.negative_prompt)


def _texts(prompts: Sequence[Any], negative: Any) -> dict[str, Any]:
    return {f"spec.prompts[{number}]": text for number, text in enumerate(prompts)} | {"spec.negativePrompt": negative}


def unknown_subjects(scene: Scene, names: Sequence[str]) -> list[Problem]:
    """Problems of placeholders that name no subject of the run.

    Args:
        scene: the scene.
        names: the names of the subjects; none if the run has only one.
    """
    return [
        problem
        for field, text in texts_of(scene).items()
        for problem in stray_placeholders(field, text, names or ANY_SUBJECT)
    ]


def negative_prompt_without_guidance(negative_prompt: str) -> Problem:
    """The problem of a negative prompt whose guidance scale is 1."""
    message, remedy = (
        "has no effect, because the guidance scale is 1",
        "Set sampler.guidanceScale above 1, or remove it",
    )
    return Problem("spec.negativePrompt", negative_prompt, message, remedy)
