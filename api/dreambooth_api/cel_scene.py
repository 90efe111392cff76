"""What the API server refuses of a DreamBoothScene, in the Common Expression Language.

Read by `crd.py`. The operator validates again with `cluster_rules.py`.
"""

from collections.abc import Mapping, Sequence

from dreambooth_api.cel_parts import Rule
from dreambooth_api.cel_workload import name_rule, unchanged, with_workload_rules
from dreambooth_api.dreamboothscene import SCENE_NAME_LENGTH
from dreambooth_api.scene import Scene

_OPTIONAL = [name for name, field in Scene.model_fields.items() if not field.is_required() and field.default is None]
_GIVEN = [name for name in Scene.model_fields if name not in _OPTIONAL]


def _alias(name: str) -> str:
    return str(Scene.model_fields[name].alias)


SCENE_RULES: Mapping[str, Sequence[Rule]] = with_workload_rules(
    {
        "": [name_rule(SCENE_NAME_LENGTH, "the pod is")],
        "spec": [
            Rule(
                unchanged(_alias(name)),
                f"{_alias(name)} can't be changed. Delete the scene and apply a new one, under another name to keep these "
                "pictures apart",
            )
            for name in _OPTIONAL
        ]
        + [
            Rule(
                "self.negativePrompt == '' || !has(self.sampler.guidanceScale) || self.sampler.guidanceScale > 1.0",
                "negativePrompt has no effect, because sampler.guidanceScale is 1. Set it above 1, or remove negativePrompt",
            ),
        ],
    },
    [f"spec.{_alias(name)}" for name in _GIVEN] + [f"spec.{field}" for field in ("jobName", "resources", "volumes")],
)
"""By the path of a field of a DreamBoothScene: what must hold for it."""
