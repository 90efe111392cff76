"""What the API server refuses of a DreamBoothJob, in the Common Expression Language: rules that need no look at the cluster.

Read by `crd.py`. The operator validates again with `cluster_rules.py`. Validation follows defaulting, so sections and
fields with defaults are always there.
"""

import json
from collections.abc import Mapping, Sequence

from dreambooth_api.cel_model import MODEL, needs_hub, source_rule
from dreambooth_api.cel_parts import Rule, dependent_fields, has_default
from dreambooth_api.cel_workload import IMMUTABLE, name_rule, with_workload_rules
from dreambooth_api.job import NAME_LENGTH, DreamBoothJobSpec
from dreambooth_api.prompts import ANY_SUBJECT
from dreambooth_api.sections import NewClaim
from dreambooth_api.training import Section

FIXED = [
    name
    for name, field in DreamBoothJobSpec.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section) and name != "scheduling"
] + ["subject", "subjects"]
"""The sections of the spec that stay as they were applied."""


def _at_least(stage: str, lowest: int, *, auto: bool = True) -> str:
    """The expression that a stage is at least so high; `auto` says what holds for that value."""
    return f"(type({stage}) == int ? int({stage}) >= {lowest} : {json.dumps(auto)})"


def _stage(part: str, lowest: int) -> Rule:
    return Rule(
        f"!self.offload.{part} || {_at_least('self.zeroStage', lowest)}",
        f"offload.{part} needs a zeroStage of at least {lowest}, or auto",
    )


def _images(pictures: str) -> list[Rule]:
    return [
        Rule(
            "!has(self.path)",
            f"path is a folder that pods can't see. Make a ConfigMap of the {pictures} (kubectl create configmap NAME "
            "--from-file=FOLDER) and name it in configMap, or use persistentVolumeClaim or image",
        ),
        Rule(
            "has(self.path) || [has(self.configMap), has(self.configMaps), has(self.persistentVolumeClaim), has(self.image)]"
            ".exists_one(one, one)",
            f"exactly one of configMap, configMaps, persistentVolumeClaim or image must say where the {pictures} are",
        ),
    ]


_SUBJECT = [
    Rule(
        "self.prompt.contains('{identifier}') && self.prompt.contains('{class}')",
        'prompt must have both {identifier} and {class}, as in "a {identifier} {class}"',
    ),
    Rule(
        "self.identifier.lowerAscii() != self.class.lowerAscii()",
        "identifier must be another word than class, or auto",
    ),
]

_FURTHER: Mapping[str, Sequence[Rule]] = {
    "": [name_rule(NAME_LENGTH, "pods and a Service are")],
    "spec": [
        Rule(
            "has(self.subject) != has(self.subjects)",
            "either subject or, for several subjects, subjects must be given",
        ),
        Rule(
            "has(self.subject) == has(oldSelf.subject)",
            f"subject {IMMUTABLE.message}",
        ),
        Rule(
            "!has(self.prior.source) || !has(self.subjects) || self.subjects.all(one, one.class == self.subjects[0].class)",
            "prior.source has pictures of one class, but the subjects have several. Remove it, or give the subjects one class",
        ),
        Rule(
            f"self.training.mixedPrecision != 'fp16' || {_at_least('self.deepspeed.zeroStage', 1)}",
            "training.mixedPrecision fp16 needs a deepspeed.zeroStage of at least 1, or auto, since only those scale the loss. "
            "Set it, or choose bf16 or fp32",
        ),
        Rule(
            "self.training.quantization == 'none' || !(self.deepspeed.offload.parameters || "
            f"{_at_least('self.deepspeed.zeroStage', 3, auto=False)})",
            "training.quantization can't be combined with ZeRO stage 3, since quantized weights are not sharded. Set "
            "deepspeed.zeroStage to 2 or lower, or auto, and deepspeed.offload.parameters to false, or quantization to none",
        ),
        Rule(
            "self.training.stopping != 'best' || self.evaluation.enabled",
            "training.stopping best needs the figures of the evaluation. Set evaluation.enabled to true, or stopping to last",
        ),
        Rule(
            "!self.training.lora.useDora || !('comfyui' in self.output.formats)",
            "training.lora.useDora is not supported for the format comfyui, which is written without learned magnitudes. Set it "
            "to false, or remove comfyui from output.formats",
        ),
        Rule(
            "self.resources.nodes == 1 || has(self.volumes.output.claimName) || !has(self.volumes.output.create.accessModes) || "
            "'ReadWriteMany' in self.volumes.output.create.accessModes",
            "volumes.output.create.accessModes must have ReadWriteMany for several nodes (resources.nodes). Add it, or leave "
            "the field out",
        ),
    ],
    "spec.model": [*MODEL, needs_hub("tokenSecret")],
    "spec.samples": dependent_fields("samples"),
    "spec.evaluation": [
        source_rule("encoder"),
        *dependent_fields("evaluation"),
    ],
    "spec.subject": _SUBJECT,
    "spec.subject.images": _images("photos"),
    "spec.subjects": [
        Rule(
            "self.all(one, one.identifier == 'auto' || self.exists_one(other, other.identifier.lowerAscii() == "
            "one.identifier.lowerAscii()))",
            "each subject must have another identifier, or auto",
        ),
    ],
    "spec.subjects[]": [
        *_SUBJECT,
        Rule(
            f"!(self.name in {list(ANY_SUBJECT)})",
            "name must be another word than identifier and class, which are placeholders for each subject",
        ),
    ],
    "spec.subjects[].images": _images("photos"),
    "spec.prior.source": _images("class images"),
    "spec.prior": [
        Rule(
            "self.prompt.contains('{class}') && !self.prompt.contains('{identifier}')",
            'prompt must have {class} and not {identifier}, as in "a {class}": class images show any member of the class',
        ),
        *dependent_fields("prior"),
    ],
    "spec.training": [
        Rule("self.warmupSteps < self.steps", "warmupSteps must be less than steps"),
        Rule(
            "self.stopping != 'best' || self.steps > 1",
            "stopping best has nothing to choose from, because steps is 1. Raise it, or set stopping to last",
        ),
        Rule(
            "!self.lora.useDora || !self.trainTextEncoder",
            "lora.useDora is not supported for text encoders, whose library does not load the learned magnitudes. Set it to "
            "false, or set trainTextEncoder to false",
        ),
        *dependent_fields("training"),
    ],
    "spec.monitoring.wandb": [
        Rule(
            "has(self.apiKeySecret) == (self.mode == 'online')",
            "apiKeySecret must be given for the mode online, and has no effect for offline",
        ),
    ],
    "spec.output.upload": [
        Rule("has(self.secret)", "secret must name the Secret with the credentials: pods have no others"),
        Rule(
            "self.private || self.to.startsWith('hf://')",
            "private has no effect, because to is no repository of the hub. Remove it",
        ),
    ],
    "spec.deepspeed": [_stage("optimizer", 1), _stage("parameters", 3)],
    "spec.volumes.output": [
        Rule(
            f"!has(self.claimName) || {has_default('create', NewClaim().model_dump(by_alias=True))}",
            "create has no effect, because claimName names an existing claim. Remove one of them",
        ),
    ],
    "spec.volumes.output.create": [
        Rule("quantity(self.size).isGreaterThan(quantity('0'))", "size must be greater than 0"),
        Rule(
            "!has(self.accessModes) || !('ReadWriteOncePod' in self.accessModes) || size(self.accessModes) == 1",
            "accessModes must not have a mode in addition to ReadWriteOncePod",
        ),
    ],
}
"""Further rules."""

RULES: Mapping[str, Sequence[Rule]] = with_workload_rules(_FURTHER, [f"spec.{section}" for section in FIXED])
"""By the path of a field of a DreamBoothJob: what must hold for it."""
