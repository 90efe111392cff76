"""The start of an attempt: what is made, and what is said of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dreambooth_api.job import DreamBoothJob
from dreambooth_api.runtime import Runtime
from dreambooth_operator.decide.builders.claim import build_claim
from dreambooth_operator.decide.builders.config_map import build_config_map
from dreambooth_operator.decide.builders.job import build_job
from dreambooth_operator.decide.builders.network_policy import build_network_policy
from dreambooth_operator.decide.builders.service import build_service
from dreambooth_operator.decide.policies.preflight import Present, made
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.decide.status.refusals import refused
from dreambooth_operator.objects.observed import Object, Reference
from dreambooth_operator.objects.reading import name_of
from dreambooth_operator.settings import Settings


class Start(NamedTuple):
    """What an attempt begins with."""

    apply: list[dict[str, Any]]
    """Objects that may exist and are brought up to date."""
    create: list[dict[str, Any]]
    """Objects that do not exist, the Job last."""
    finding: Finding
    """Where the attempt stands then."""


def start_of(
    owner: Object, job: DreamBoothJob, number: int, present: Present, runtime: Runtime, settings: Settings
) -> Start:
    """Everything that an attempt needs.

    Args:
        owner: the DreamBoothJob as it stands in the API server.
        job: the same, read and equipped.
        number: number of the attempt.
        present: what exists of the objects that are made.
        runtime: what it is equipped with.
        settings: what the administrator decides.
    """
    claims = [
        one for one in made(job, number, settings) if one.kind == "PersistentVolumeClaim" and present.get(one) is None
    ]
    attempt = build_job(owner, job, number, runtime, settings)
    name, queue = name_of(attempt), job.spec.scheduling.queue_name
    finding = reasons.QUEUED(job=name, queue=queue) if queue else reasons.STARTING(job=name, number=number)
    return Start(companions(owner, job, settings), [*(build_claim(owner, job) for _ in claims), attempt], finding)


def companions(owner: Object, job: DreamBoothJob, settings: Settings) -> list[dict[str, Any]]:
    """What the pods of every attempt need, beside claims."""
    services = [build_service(owner, job)] if job.spec.resources.nodes > 1 else []
    policies = [build_network_policy(owner, job, settings)] if settings.network_policies else []
    return [build_config_map(owner, job), *services, *policies]


def refusal(start: Start, refusals: Mapping[Reference, str]) -> Finding | None:
    """What the API server had against one of the objects when it was last asked."""
    for item in [*start.apply, *start.create]:
        kind, name = item["kind"], name_of(item)
        if detail := refusals.get(Reference(kind, name)):
            return refused(f"{kind} {name}", detail)
    return None
