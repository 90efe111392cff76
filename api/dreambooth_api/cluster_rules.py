"""Validates a DreamBoothJob that runs in a cluster: each field, and rules over several fields.

The operator calls it too, as the installed CRD may be older than the operator and have fewer rules.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dreambooth_api.failures import Problem
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.quantities import amount
from dreambooth_api.sections import MODEL_CONFIG, MODEL_SOURCE
from dreambooth_api.validation import check_contradictions, check_fields

VALIDATED_KEYS = "apiVersion", "kind", "metadata", "spec"


def validate(item: Mapping[str, Any]) -> tuple[DreamBoothJob | None, list[Problem]]:
    """Reads and validates a DreamBoothJob of the API server.

    Args:
        item: the DreamBoothJob.

    Returns:
        The DreamBoothJob, or None if there are problems; and the problems.
    """
    spec = item.get("spec")
    job, problems = check_fields({key: item[key] for key in VALIDATED_KEYS if key in item}, DreamBoothJob, "")
    problems += check_contradictions(spec, problems)
    if job is not None:
        problems += [problem for rule in RULES for problem in rule(job)]
    return (None if problems else job), problems


def _pods_can_read_the_photos(job: DreamBoothJob) -> Iterator[Problem]:
    path = job.spec.subject.images.path
    if path is not None:
        remedy = (
            "Make a ConfigMap of the photos (kubectl create configmap NAME --from-file=FOLDER) and name it in "
            "subject.images.configMap, or use persistentVolumeClaim or image"
        )
        yield Problem("spec.subject.images.path", path, "is a local folder, which pods can't read", remedy)


def _pods_can_read_the_models(job: DreamBoothJob) -> Iterator[Problem]:
    sources = {"model.source": job.spec.model.source, "evaluation.encoder": job.spec.evaluation.encoder}
    for field, source in sources.items():
        if not re.fullmatch(MODEL_SOURCE, source):
            remedy = "Write embedded://emoji, hf://organisation/name or pvc://claim/path"
            yield Problem(f"spec.{field}", source, "is a local path, which pods can't read", remedy)
    config = job.spec.model.config
    if config is not None and not re.fullmatch(MODEL_CONFIG, config):
        remedy = "Write organisation/name or pvc://claim/path"
        yield Problem("spec.model.config", config, "is a local path, which pods can't read", remedy)


def _shared_memory(job: DreamBoothJob) -> Iterator[Problem]:
    asked = job.spec.resources
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


RULES: list[Callable[[DreamBoothJob], Iterator[Problem]]] = [
    _pods_can_read_the_photos,
    _pods_can_read_the_models,
    _shared_memory,
    _several_nodes_share_a_volume,
]
