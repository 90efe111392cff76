"""Makes the plan for a workload, a DreamBoothJob or DreamBoothScene, from its observed state, the time and the settings, as a
pure function.

`control/controller.py` calls it when anything about a workload may have changed. The only memory is the status, and it is
read only for facts that can no longer be observed. Everything else is derived again, so a write that was lost is repeated.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from dreambooth_api.cluster_rules import readable, validate
from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.decide.decision import Context, decide, own_jobs, trained_of
from dreambooth_operator.decide.policies.attempts import (
    pruned_jobs,
    update_history,
    with_current_attempt,
)
from dreambooth_operator.decide.policies.deadline import deadline_of, default_of, limit_of
from dreambooth_operator.decide.policies.expiry import expiry_of
from dreambooth_operator.decide.policies.objections import objection_to
from dreambooth_operator.decide.policies.pending import pending_deadline, pending_since
from dreambooth_operator.decide.policies.preflight import created_objects
from dreambooth_operator.decide.policies.queueing import is_queued, queue_time
from dreambooth_operator.decide.policies.recheck import waiting_since
from dreambooth_operator.decide.policies.runtimes import required_references
from dreambooth_operator.decide.policies.stalling import stalled, stalls_at
from dreambooth_operator.decide.policies.suspension import suspended_seconds
from dreambooth_operator.decide.programs import output_of, program_of
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.compose import Status, StatusInput, compose_status, to_json, with_gpu_time
from dreambooth_operator.decide.status.conditions import holds
from dreambooth_operator.decide.status.events import events_of
from dreambooth_operator.decide.status.stored import stored_status, unknown_fields
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object, Observed, Plan, Reference
from dreambooth_operator.objects.reading import (
    attempt_of,
    generation_of,
    is_being_deleted,
    is_finished,
    is_orphaning,
    name_of,
    newest_job,
    uid_of,
)
from dreambooth_operator.settings import Settings


def reconcile(observed: Observed, now: datetime, settings: Settings) -> Plan:
    """The plan for a workload: the objects to write and delete, and its status."""
    now = now.astimezone(UTC).replace(microsecond=0)
    before = stored_status(observed.owner)
    if is_being_deleted(observed.owner):
        # A finalizer may delay the deletion; the Jobs must stop anyway, unless they are to be orphaned.
        delete = [Reference("Job", name_of(one)) for one in _live(own_jobs(observed))]
        if is_orphaning(observed.owner):
            delete = []
        return Plan(status=observed.owner.get("status", {}), delete=delete)
    if _has_ended(before):
        return _after_the_end(observed, before, now, settings)

    sound, problems = validate(observed.owner)
    workload = sound or readable(observed.owner)
    objection = objection_to(problems, before, generation_of(observed.owner)) if problems else None
    jobs = own_jobs(observed)
    history = update_history(before.attempts, before.failures, jobs, observed.pods, now)
    suspended = suspended_seconds(before, workload.spec.suspend, now)
    newest = newest_job(jobs)
    output = output_of(workload, newest)
    limit = limit_of(newest) if newest else None
    start = before.start_time or history.start_time
    queued = queue_time(before, start is not None, None if workload.spec.suspend else newest, now)
    deadline = None
    if not workload.spec.suspend and not is_queued(newest):
        allowed = [seconds for seconds in (workload.spec.active_deadline_seconds, limit) if seconds is not None]
        deadline = deadline_of(start, min(allowed, default=None), suspended + queued.seconds)
    progress_seconds = workload.spec.progress_deadline_seconds or default_of(newest, names.ANNOTATION_PROGRESS)
    stall = stalls_at(history, newest, observed.pods, observed.progress_since, progress_seconds)
    if stall and now >= stall:
        history, stall = stalled(history, progress_seconds, now), None
    pending = (
        None
        if start or workload.spec.suspend or is_queued(newest)
        else pending_since(observed.owner, before, newest, now)
    )
    pending_seconds = workload.spec.pending_deadline_seconds or default_of(newest, names.ANNOTATION_PENDING)
    decision = decide(
        Context(
            observed=observed,
            workload=workload,
            trained=trained_of(observed),
            output=output,
            objection=objection,
            history=history,
            deadline=deadline,
            limit=limit,
            pending_since=pending,
            pending_seconds=pending_seconds,
            last_message=before.message or "",
            waiting_since=waiting_since(before, now),
            now=now,
            settings=settings,
        )
    )

    status_input = StatusInput(
        owner=observed.owner,
        workload=None if decision.finding.reason == reasons.INVALID_CONFIG.reason else workload,
        output=output,
        finding=decision.finding,
        objection=objection or decision.objection,
        attempts=decision.attempts,
        runtime=decision.runtime
        or (newest["metadata"]["labels"].get(names.LABEL_RUNTIME) if newest else before.runtime),
        failures=history.failures,
        suspended_seconds=suspended,
        queued_seconds=queued.seconds,
        # An attempt that starts now is queued from now on.
        queued_since=queued.since
        or (now if start and decision.create and decision.finding.phase == "Queued" else None),
        termination_message=history.termination_message,
        pods=_own_pods(observed),
        snapshot=observed.snapshot,
        now=now,
    )
    after = compose_status(before, status_input)
    expiry = expiry_of(observed.owner, after, observed.runtimes, settings.ttl_seconds_after_finished)
    pending_end = pending_deadline(pending, pending_seconds)
    due = (expiry,) if _has_ended(after) else (decision.due, deadline, stall, pending_end)
    last = decision.attempts[-1] if decision.attempts else None
    # The Job of an attempt that has ended may still replace its pods.
    current = last.number if last and not last.completion_time and not decision.stop else None
    unwanted = [one for one in _live(jobs) if attempt_of(one) != current] + pruned_jobs(jobs, decision.attempts)
    return Plan(
        status={**unknown_fields(observed.owner), **to_json(after)},
        check=decision.check,
        apply=decision.apply,
        create=decision.create,
        delete=[Reference("Job", name_of(one)) for one in unwanted],
        events=events_of(before, after, decision.finding),
        requeue_after=_seconds(now, *due),
    )


def references(observed: Observed, now: datetime, settings: Settings) -> set[Reference]:
    """The objects that `reconcile` needs in `Observed.referenced`; none while an attempt runs or after the end."""
    before, jobs = stored_status(observed.owner), own_jobs(observed)
    if is_being_deleted(observed.owner) or _has_ended(before) or any(not is_finished(job) for job in jobs):
        return set()
    workload, _ = validate(observed.owner)
    if workload is None:
        return set()
    history = update_history(before.attempts, before.failures, jobs, observed.pods, now)
    number, trained = with_current_attempt(history.attempts, workload)[-1].number, trained_of(observed)
    program = program_of(workload, trained)
    created = created_objects(workload, program, number, settings) if program else ()
    return {*required_references(workload, trained, observed.runtimes), *created}


def _after_the_end(observed: Observed, before: Status, now: datetime, settings: Settings) -> Plan:
    """Keeps the status of a finished workload, deletes running Jobs, and deletes the workload when its TTL expires."""
    delete = [Reference("Job", name_of(one)) for one in _live(own_jobs(observed))]
    expiry = expiry_of(observed.owner, before, observed.runtimes, settings.ttl_seconds_after_finished)
    if expiry and now >= expiry:
        delete.append(Reference(observed.owner["kind"], name_of(observed.owner)))
        expiry = None
    status = observed.owner["status"]
    if before.gpus_held_since:
        status = to_json(with_gpu_time(before, observed.owner, _own_pods(observed), now))
    status = {**status, "observedGeneration": generation_of(observed.owner)}
    return Plan(status=status, delete=delete, requeue_after=_seconds(now, expiry))


def _own_pods(observed: Observed) -> list[Object]:
    """The pods of this workload, including those whose Job was deleted."""
    uid, label = uid_of(observed.owner), names.LABELS[observed.owner["kind"]].uid
    return [pod for pod in observed.pods if pod["metadata"].get("labels", {}).get(label) == uid]


def _live(jobs: Sequence[Object]) -> list[Object]:
    """The Jobs that have not ended and are not being deleted."""
    return [job for job in jobs if not is_finished(job) and not is_being_deleted(job)]


def _has_ended(status: WorkloadStatus) -> bool:
    return holds(status.conditions, "Complete") or holds(status.conditions, "Failed")


def _seconds(now: datetime, *due: datetime | None) -> float | None:
    """Seconds until the earliest of the times, at least 1."""
    return min((max(1.0, (time - now).total_seconds()) for time in due if time is not None), default=None)
