"""Validates a DreamBoothJob or DreamBoothScene in a cluster: each field, and rules over several fields.

The operator calls it too, as the installed CRD may be older than the operator and have fewer rules.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from dreambooth_api.dreamboothscene import SCENE_KIND, DreamBoothScene, DreamBoothSceneSpec, SceneMetadata
from dreambooth_api.failures import Problem
from dreambooth_api.job import KIND, DreamBoothJob, DreamBoothJobSpec, Metadata
from dreambooth_api.quantities import amount
from dreambooth_api.scene import scene_contradictions
from dreambooth_api.scheduling_rules import gpu_resource_problems, toleration_problems, topology_problems
from dreambooth_api.sections import ADAPTER_SOURCE, MODEL_CONFIG, MODEL_SOURCE, NewClaim, Resources
from dreambooth_api.training import Model
from dreambooth_api.validation import check_contradictions, check_fields
from dreambooth_api.workload import API_VERSION

S = TypeVar("S", DreamBoothJobSpec, DreamBoothSceneSpec)
Workload = DreamBoothJob | DreamBoothScene
"""An object that runs pods."""
VALIDATED_KEYS = "apiVersion", "kind", "metadata", "spec"


def validate(item: Mapping[str, Any]) -> tuple[Workload | None, list[Problem]]:
    """Reads and validates a DreamBoothJob or DreamBoothScene of the API server.

    Args:
        item: the object.

    Returns:
        The object, or None if there are problems; and the problems.
    """
    given, spec = {key: item[key] for key in VALIDATED_KEYS if key in item}, item.get("spec")
    if item.get("kind") == SCENE_KIND:
        scene, problems = check_fields(given, DreamBoothScene, "")
        problems += scene_contradictions(spec, problems)
        if scene is not None:
            problems += [
                *check_workload_sections(scene),
                *(problem for rule in _SCENE_RULES for problem in rule(scene)),
            ]
        return (None if problems else scene), problems
    job, problems = check_fields(given, DreamBoothJob, "")
    problems += check_contradictions(spec, problems)
    if job is not None:
        problems += [*check_cluster_sections(job), *(problem for rule in _POD_RULES for problem in rule(job))]
    return (None if problems else job), problems


def check_cluster_sections(job: DreamBoothJob) -> list[Problem]:
    """Applies the rules over several fields of the sections of a DreamBoothJob that only a cluster uses.

    Args:
        job: the DreamBoothJob; its photos and models may be on this machine.
    """
    return [*check_workload_sections(job), *(problem for rule in _VOLUME_RULES for problem in rule(job))]


def check_workload_sections(workload: Workload) -> list[Problem]:
    """Applies the rules over several fields about how pods run."""
    return [problem for rule in _WORKLOAD_RULES for problem in rule(workload)]


def readable(item: Mapping[str, Any]) -> Workload:
    """What can be read of a DreamBoothJob or DreamBoothScene with problems: fields that have one are left out.

    It serves for decisions about attempts that have started, not to start one: a model, subject or scene that can't be read is
    replaced.

    Args:
        item: the object.
    """
    name, namespace, given = item["metadata"]["name"], item["metadata"].get("namespace"), item.get("spec")
    if item.get("kind") == SCENE_KIND:
        return DreamBoothScene.model_construct(
            api_version=API_VERSION,
            kind=SCENE_KIND,
            metadata=SceneMetadata.model_construct(name=name, namespace=namespace),
            spec=_readable_spec(given, DreamBoothSceneSpec, _UNREADABLE_SCENE),
        )
    return DreamBoothJob.model_construct(
        api_version=API_VERSION,
        kind=KIND,
        metadata=Metadata.model_construct(name=name, namespace=namespace),
        spec=_readable_spec(given, DreamBoothJobSpec, _UNREADABLE_JOB),
    )


def _readable_spec(given: Any, model: type[S], unreadable: Mapping[str, Any]) -> S:
    spec: dict[str, Any] = deepcopy(dict(given)) if isinstance(given, Mapping) else {}
    while True:
        spec = {**unreadable, **spec}
        try:
            return model.model_validate(spec, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            places = {_existing(spec, details["loc"]) for details in error.errors(include_url=False)}
            # The last and deepest ones first, so that the other positions remain.
            for *section, name in sorted(filter(None, places), reverse=True):
                del reduce(getitem, section, cast(Any, spec))[name]
            if not any(places):
                spec.clear()


def _existing(spec: dict[str, Any], place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place of a field, or if it is missing, that of the section that should contain it."""
    known: Any = spec
    for depth, part in enumerate(place):
        if not (part in known if isinstance(known, dict) else isinstance(known, list) and part in range(len(known))):
            return place[:depth]
        known = known[part]
    return place


_UNREADABLE_JOB: Mapping[str, Any] = {
    "model": {"source": "unreadable"},
}
_UNREADABLE_SCENE: Mapping[str, Any] = {"prompts": ["unreadable"]}
"""Fields without which there is no spec."""


def _pods_can_read_the_pictures(job: DreamBoothJob) -> Iterator[Problem]:
    for field, images in job.spec.pictures.items():
        if images.path is not None:
            remedy = (
                "Make a ConfigMap of the pictures (kubectl create configmap NAME --from-file=FOLDER) and name it in "
                f"{field}.configMap, or use persistentVolumeClaim or image"
            )
            yield Problem(f"spec.{field}.path", images.path, "is a local folder, which pods can't read", remedy)


def _pods_can_read_the_models(job: DreamBoothJob) -> Iterator[Problem]:
    yield from _no_local_model("model.source", job.spec.model.source)
    yield from _no_local_model("evaluation.encoder", job.spec.evaluation.encoder)
    yield from _no_local_configuration(job.spec.model)


def _pods_can_read_the_model_of_a_scene(scene: DreamBoothScene) -> Iterator[Problem]:
    if model := scene.spec.model:
        yield from _no_local_model("model.source", model.source)
        for field, adapter in model.adapter_sources.items():
            if not re.fullmatch(ADAPTER_SOURCE, adapter):
                remedy = "Write hf://organisation/name or pvc://claim/path"
                yield Problem(f"spec.{field}", adapter, "is a local path, which pods can't read", remedy)
        yield from _no_local_configuration(model)


def _no_local_model(field: str, source: str) -> Iterator[Problem]:
    if not re.fullmatch(MODEL_SOURCE, source):
        remedy = "Write embedded://emoji, hf://organisation/name or pvc://claim/path"
        yield Problem(f"spec.{field}", source, "is a local path, which pods can't read", remedy)


def _no_local_configuration(model: Model) -> Iterator[Problem]:
    config = model.config
    if config is not None and not re.fullmatch(MODEL_CONFIG, config):
        remedy = "Write organisation/name or pvc://claim/path"
        yield Problem("spec.model.config", config, "is a local path, which pods can't read", remedy)


def _one_model(scene: DreamBoothScene) -> Iterator[Problem]:
    name, model = scene.spec.job_name, scene.spec.model
    if name is None and model is None:
        yield Problem("spec.jobName", None, "is missing", "Give jobName, the name of a DreamBoothJob, or model")
    if name is not None and model is not None:
        yield Problem("spec.model", model.source, "is given in addition to jobName", "Remove one of them")


def _claim_for_the_pictures(scene: DreamBoothScene) -> Iterator[Problem]:
    if scene.spec.model and not scene.spec.volumes.output.claim_name:
        message = "is missing, and there is no DreamBoothJob whose claim could hold the pictures"
        yield Problem("spec.volumes.output.claimName", None, message, "Give the name of a claim")


def _wandb_has_a_key(job: DreamBoothJob) -> Iterator[Problem]:
    wandb = job.spec.monitoring.wandb
    if wandb and wandb.mode == "online" and not wandb.api_key_secret:
        message, remedy = "is missing, but pods need the key for the mode online", "Give the Secret that has it"
        yield Problem("spec.monitoring.wandb.apiKeySecret", None, message, remedy)


def _upload_has_credentials(job: DreamBoothJob) -> Iterator[Problem]:
    upload = job.spec.output.upload
    if upload and not upload.secret:
        message, remedy = "is missing, but pods have no other credentials", "Give the Secret that has them"
        yield Problem("spec.output.upload.secret", None, message, remedy)


def _shared_memory(workload: Workload) -> Iterator[Problem]:
    asked = workload.spec.resources
    if amount(asked.shared_memory) > amount(asked.memory):
        message = f"is more than resources.memory ({asked.memory}), which includes it"
        yield Problem(
            "spec.resources.sharedMemory", asked.shared_memory, message, "Lower it, or raise resources.memory"
        )


def _several_nodes_share_a_volume(job: DreamBoothJob) -> Iterator[Problem]:
    output = job.spec.volumes.output
    modes = output.create.access_modes
    if job.spec.resources.nodes > 1 and not output.claim_name and modes and "ReadWriteMany" not in modes:
        message = f"can't be mounted by the {job.spec.resources.nodes} nodes of resources.nodes"
        yield Problem("spec.volumes.output.create.accessModes", modes, message, "Add ReadWriteMany, or remove it")


def _access_modes(job: DreamBoothJob) -> Iterator[Problem]:
    modes = job.spec.volumes.output.create.access_modes or []
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        message = "has a mode in addition to ReadWriteOncePod, which Kubernetes does not allow"
        yield Problem("spec.volumes.output.create.accessModes", modes, message, "Remove one of them")


def _size_of_the_output(job: DreamBoothJob) -> Iterator[Problem]:
    size = job.spec.volumes.output.create.size
    if amount(size) == 0:
        yield Problem("spec.volumes.output.create.size", size, "is not greater than 0", "Give a size, such as 20Gi")


def _no_new_claim(job: DreamBoothJob) -> Iterator[Problem]:
    output = job.spec.volumes.output
    if output.claim_name and output.create != NewClaim():
        given = output.create.model_dump(by_alias=True, exclude_defaults=True)
        message = f"has no effect, because volumes.output.claimName names the claim {output.claim_name}"
        yield Problem("spec.volumes.output.create", given, message, "Remove one of them")


def _no_gpus(workload: Workload) -> Iterator[Problem]:
    resources = workload.spec.resources
    if not resources.gpus_per_node and resources.gpu_resource_name != Resources().gpu_resource_name:
        message = "has no effect, because resources.gpusPerNode is 0"
        remedy = "Set resources.gpusPerNode, or remove it"
        yield Problem("spec.resources.gpuResourceName", resources.gpu_resource_name, message, remedy)


def _gpu_resource(workload: Workload) -> Iterator[Problem]:
    return gpu_resource_problems(workload.spec.resources.gpu_resource_name)


def _tolerations(workload: Workload) -> Iterator[Problem]:
    return toleration_problems("spec.scheduling.tolerations", workload.spec.scheduling.tolerations)


def _topology(workload: Workload) -> Iterator[Problem]:
    return topology_problems("spec.scheduling.topology", workload.spec.scheduling.topology)


_POD_RULES: list[Callable[[DreamBoothJob], Iterator[Problem]]] = [
    _pods_can_read_the_pictures,
    _pods_can_read_the_models,
    _wandb_has_a_key,
    _upload_has_credentials,
]
_WORKLOAD_RULES: list[Callable[[Workload], Iterator[Problem]]] = [
    _shared_memory,
    _gpu_resource,
    _no_gpus,
    _tolerations,
    _topology,
]
_SCENE_RULES: list[Callable[[DreamBoothScene], Iterator[Problem]]] = [
    _one_model,
    _pods_can_read_the_model_of_a_scene,
    _claim_for_the_pictures,
]
_VOLUME_RULES: list[Callable[[DreamBoothJob], Iterator[Problem]]] = [
    _several_nodes_share_a_volume,
    _access_modes,
    _size_of_the_output,
    _no_new_claim,
]
