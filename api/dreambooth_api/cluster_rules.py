"""What a DreamBoothJob must say to run in the cluster: fields, what they say together.

Called by `decide/reconcile.py`, whatever the CRD's schema and CEL rules let through: an older CRD may have known less.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dreambooth_api.failures import Problem
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.quantities import amount
from dreambooth_api.sections import MODEL_CONFIG, MODEL_SOURCE
from dreambooth_api.validation import conform, contradictions_in

JUDGED = "apiVersion", "kind", "metadata", "spec"


def judge(item: Mapping[str, Any]) -> tuple[DreamBoothJob | None, list[Problem]]:
    """Reads a DreamBoothJob as it stands in the API server.

    Args:
        item: the DreamBoothJob.

    Returns:
        The job, or None if there are problems; and the problems.
    """
    spec = item.get("spec")
    job, problems = conform({key: item[key] for key in JUDGED if key in item}, DreamBoothJob, "")
    problems += contradictions_in(spec, problems)
    if job is not None:
        problems += [problem for rule in RULES for problem in rule(job)]
    return (None if problems else job), problems


def _photos_within_reach(job: DreamBoothJob) -> Iterator[Problem]:
    path = job.spec.subject.images.path
    if path is not None:
        remedy = (
            "Make a ConfigMap of the photos (kubectl create configmap NAME --from-file=FOLDER) and name it in "
            "subject.images.configMap, or use persistentVolumeClaim or image"
        )
        yield Problem("spec.subject.images.path", path, "is a folder that pods can't see", remedy)


def _models_within_reach(job: DreamBoothJob) -> Iterator[Problem]:
    sources = {"model.source": job.spec.model.source, "evaluation.encoder": job.spec.evaluation.encoder}
    for field, source in sources.items():
        if not re.fullmatch(MODEL_SOURCE, source):
            remedy = "Write embedded://emoji, hf://organisation/name or pvc://claim/path"
            yield Problem(f"spec.{field}", source, "is a path that pods can't see", remedy)
    config = job.spec.model.config
    if config is not None and not re.fullmatch(MODEL_CONFIG, config):
        remedy = "Write organisation/name or pvc://claim/path"
        yield Problem("spec.model.config", config, "is a path that pods can't see", remedy)


def _shared_memory(job: DreamBoothJob) -> Iterator[Problem]:
    asked = job.spec.resources
    if amount(asked.shared_memory) > amount(asked.memory):
        message = f"is more than resources.memory, {asked.memory}, which it counts towards"
        yield Problem("spec.resources.sharedMemory", asked.shared_memory, message, "Give less, or more memory")


def _several_nodes_share_a_volume(job: DreamBoothJob) -> Iterator[Problem]:
    output = job.spec.volumes.output
    modes = output.create.access_modes
    if job.spec.resources.nodes > 1 and not output.claim_name and modes and "ReadWriteMany" not in modes:
        message = f"can't be mounted by the {job.spec.resources.nodes} nodes of resources.nodes"
        yield Problem("spec.volumes.output.create.accessModes", modes, message, "Add ReadWriteMany, or remove it")


RULES: list[Callable[[DreamBoothJob], Iterator[Problem]]] = [
    _photos_within_reach,
    _models_within_reach,
    _shared_memory,
    _several_nodes_share_a_volume,
]
