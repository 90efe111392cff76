"""Settings of scenes."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from dreambooth_api.dreamboothscene import SCENE_NAME_LENGTH
from dreambooth_api.failures import InvalidConfig
from dreambooth_api.scene import Scene, check_scene


class SceneOptions(TypedDict, total=False):
    """How pictures are generated."""

    count: int
    """Pictures of each prompt. Default: 4."""
    seed: int
    """Seed of the first picture of each prompt; the next ones count on. Default: 0."""
    negative_prompt: str
    """What not to show."""
    sampler: Mapping[str, Any]
    """`scheduler`, `steps` and `guidanceScale`. Default: those of the run's samples."""
    size: int | tuple[int, int] | None
    """Side of a square, or width and height, in pixels. Default: the training resolution."""
    adapter_scale: float | None
    """With method `lora`, share of what was learned: 0 generates as the base model does. Default: 1."""
    step: int | None
    """Step of the training whose weights generate. Default: the finished model, or the newest checkpoint."""


def scene_of(prompts: str | Sequence[str], options: SceneOptions) -> Scene:
    """A scene.

    Args:
        prompts: what to show; `{identifier}` and `{class}` stand for those of the run.
        options: how.

    Raises:
        InvalidConfig: the prompts or options are wrong.
    """
    size = options.get("size")
    sides = (size, size) if isinstance(size, int) else size
    fields: dict[str, Any] = {
        "prompts": [prompts] if isinstance(prompts, str) else list(prompts),
        "negativePrompt": options.get("negative_prompt"),
        "perPrompt": options.get("count"),
        "seed": options.get("seed"),
        "sampler": options.get("sampler"),
        "size": {"width": sides[0], "height": sides[1]} if sides else None,
        "adapterScale": options.get("adapter_scale"),
        "step": options.get("step"),
    }
    scene, problems = check_scene({name: value for name, value in fields.items() if value is not None})
    if scene is None:
        raise InvalidConfig(problems)
    return scene


def scene_name(job: str) -> str:
    """A new name for a scene of a DreamBoothJob."""
    suffix = f"-{secrets.token_hex(3)}"
    return job[: SCENE_NAME_LENGTH - len(suffix)] + suffix
