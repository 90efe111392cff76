"""Plans the start of an attempt: the objects to write, and the finding."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.runtime import Runtime
from dreambooth_operator.decide.builders.claim import build_claim
from dreambooth_operator.decide.builders.config_map import build_config_map
from dreambooth_operator.decide.builders.job import build_job
from dreambooth_operator.decide.builders.network_policy import build_network_policy
from dreambooth_operator.decide.builders.service import build_service
from dreambooth_operator.decide.policies.preflight import CLAIM, Referenced
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.decide.status.refusals import refused
from dreambooth_operator.objects.observed import Object, Reference
from dreambooth_operator.objects.reading import name_of
from dreambooth_operator.settings import Settings


class Start(NamedTuple):
    """The start of an attempt."""

    apply: list[dict[str, Any]]
    """Objects to apply; they may exist."""
    create: list[dict[str, Any]]
    """Objects to create, the Job last."""
    finding: Finding
    """The finding after the start."""


def plan_start(
    owner: Object,
    workload: Workload,
    program: Program,
    number: int,
    referenced: Referenced,
    runtime: Runtime,
    settings: Settings,
) -> Start:
    """The objects that an attempt needs.

    Args:
        owner: the workload as an object of the API server.
        workload: the same, parsed, with the fields that its runtime sets.
        program: what its pods run.
        number: number of the attempt.
        referenced: the objects of `created_objects`, as far as they exist.
        runtime: the runtime.
        settings: the settings of the operator.
    """
    claims, claim = [], program.output.claim
    if program.created and referenced.get(Reference(CLAIM, claim)) is None:
        claims.append(build_claim(owner, workload, claim, program.created))
    attempt = build_job(owner, workload, program, number, runtime, settings)
    name, queue = name_of(attempt), workload.spec.scheduling.queue_name
    finding = reasons.QUEUED(job=name, queue=queue) if queue else reasons.STARTING(job=name, number=number)
    return Start(
        supporting_objects(owner, workload, program, settings),
        [*claims, attempt],
        finding,
    )


def supporting_objects(owner: Object, workload: Workload, program: Program, settings: Settings) -> list[dict[str, Any]]:
    """The objects that the pods of each attempt need, except claims."""
    services = [build_service(owner, workload)] if workload.spec.resources.nodes > 1 else []
    policies = [build_network_policy(owner, workload, program, settings)] if settings.network_policies else []
    return [build_config_map(owner, workload, program), *services, *policies]


def refused_object(start: Start, refusals: Mapping[Reference, str]) -> dict[str, Any] | None:
    """The first object that the API server refused last time."""
    items = [*start.apply, *start.create]
    return next((item for item in items if Reference(item["kind"], name_of(item)) in refusals), None)


def refused_write(start: Start, refusals: Mapping[Reference, str]) -> Finding | None:
    """The finding about the first object that the API server refused last time."""
    item = refused_object(start, refusals)
    if item is None:
        return None
    kind, name = item["kind"], name_of(item)
    return refused(f"{kind} {name}", refusals[Reference(kind, name)])
