"""What the API server refuses of a DreamBoothScene, in the Common Expression Language.

Read by `crd.py`. The operator validates again with `cluster_rules.py`.
"""

from collections.abc import Mapping, Sequence

from dreambooth_api.cel_model import ADAPTER, MODEL
from dreambooth_api.cel_parts import Rule
from dreambooth_api.cel_workload import name_rule, unchanged, with_workload_rules
from dreambooth_api.dreamboothscene import SCENE_NAME_LENGTH
from dreambooth_api.scene import Scene

_FIELDS = {str(field.alias): field for field in Scene.model_fields.values()}
_OPTIONAL = [name for name, field in _FIELDS.items() if not field.is_required() and field.default is None] + ["jobName"]
_GIVEN = [name for name in _FIELDS if name not in _OPTIONAL]


def _without_model(field: str, remedy: str) -> Rule:
    return Rule(
        f"!has(self.model) || !has(self.{field})",
        f"{field} has no effect, because the scene names a model, not a run. Remove it, or {remedy}",
    )


SCENE_RULES: Mapping[str, Sequence[Rule]] = with_workload_rules(
    {
        "": [name_rule(SCENE_NAME_LENGTH, "the pod is")],
        "spec": [
            Rule(
                unchanged(name),
                f"{name} can't be changed. Delete the scene and apply a new one, under another name to keep these "
                "pictures apart",
            )
            for name in _OPTIONAL
        ]
        + [
            Rule(
                "has(self.jobName) != has(self.model)",
                "either jobName, for the model of a DreamBoothJob, or model must be given",
            ),
            Rule(
                "!has(self.model) || has(self.volumes.output.claimName)",
                "volumes.output.claimName must name a claim for the pictures, since there is no DreamBoothJob that has one",
            ),
            _without_model("step", "give jobName"),
            _without_model("adapterScale", "set scale of model.adapters"),
            Rule(
                "self.negativePrompt == '' || !has(self.sampler.guidanceScale) || self.sampler.guidanceScale > 1.0",
                "negativePrompt has no effect, because sampler.guidanceScale is 1. Set it above 1, or remove negativePrompt",
            ),
        ],
        "spec.model": [
            *MODEL,
            Rule(
                "!has(self.tokenSecret) || self.source.startsWith('hf://') || "
                "self.adapters.exists(one, one.source.startsWith('hf://'))",
                "tokenSecret has no effect unless a source is a repository of the hub. Remove it, or give an hf:// source",
            ),
        ],
        "spec.model.adapters[]": ADAPTER,
    },
    [f"spec.{name}" for name in (*_GIVEN, "resources", "volumes")],
)
"""By the path of a field of a DreamBoothScene: what must hold for it."""
