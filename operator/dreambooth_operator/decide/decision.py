"""Decides about a workload that has not ended: whether it has ended now, must stop, runs, must wait, or starts an attempt.

`reconcile.py` collects what the decision depends on, and makes the plan from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dreambooth_api.cluster_rules import Workload, readable
from dreambooth_api.dreamboothscene import DreamBoothScene
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.status import Attempt
from dreambooth_operator.decide.policies.apply_runtime import with_runtime
from dreambooth_operator.decide.policies.attempts import (
    History,
    disruptions_in_a_row,
    final_failure,
    is_final,
    next_start,
    with_current_attempt,
)
from dreambooth_operator.decide.policies.awaited import LOOK, awaited, is_awaited
from dreambooth_operator.decide.policies.invalid_objects import problems_of_the_spec
from dreambooth_operator.decide.policies.leftovers import blocking_jobs, earlier_objects, orphans
from dreambooth_operator.decide.policies.limits import Asked, violations
from dreambooth_operator.decide.policies.objections import invalid_config
from dreambooth_operator.decide.policies.pending import pending_deadline
from dreambooth_operator.decide.policies.preflight import created_objects, preflight_failures
from dreambooth_operator.decide.policies.recheck import next_look
from dreambooth_operator.decide.policies.runtimes import choose_runtime
from dreambooth_operator.decide.policies.start import plan_start, refused_object, refused_write, supporting_objects
from dreambooth_operator.decide.policies.trained_job import unknown_names, why_untrained
from dreambooth_operator.decide.programs import program_of
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.diagnosis import GRACE_PERIOD, Running, diagnose
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.decide.status.termination_message import COMPLETED
from dreambooth_operator.objects import names
from dreambooth_operator.objects.folders import Folder
from dreambooth_operator.objects.observed import Object, Observed, Reference
from dreambooth_operator.objects.reading import (
    attempt_of,
    is_being_deleted,
    is_controlled_by,
    name_of,
    uid_of,
)
from dreambooth_operator.settings import Settings

RECHECK = timedelta(seconds=15)
"""Shortest interval between two runs of the preflight checks."""
RETRY = timedelta(seconds=30)
"""Shortest interval between two attempts to write an object that the API server refused, and between two looks at the Events
about pods that don't start."""


@dataclass(frozen=True)
class Context:
    """The input for a decision about a workload that has not ended."""

    observed: Observed
    workload: Workload
    """The workload, parsed; if there is an objection, only what can be read of it."""
    trained: DreamBoothJob | None
    """What can be read of the DreamBoothJob that a DreamBoothScene names."""
    output: Folder | None
    """Where its pods write; None if that is not known any more."""
    objection: Finding | None
    """Why its spec is not accepted; None: it is."""
    history: History
    """The records of its attempts."""
    deadline: datetime | None
    """Its deadline."""
    limit: int | None
    """The limit of its runtime on `activeDeadlineSeconds`."""
    pending_since: datetime | None
    """Since when it waits for its first start; None if it has started, is queued or is suspended."""
    pending_seconds: int | None
    """Its `pendingDeadlineSeconds`, or the default of the runtime of its attempt."""
    last_message: str
    """The message of its previous status."""
    waiting_since: datetime
    """Since when it waits, if it does not run."""
    now: datetime
    settings: Settings


@dataclass(frozen=True)
class Decision:
    """The decision about a workload that has not ended."""

    finding: Finding
    """The finding."""
    attempts: Sequence[Attempt]
    """The records of its attempts."""
    apply: Sequence[Object] = ()
    create: Sequence[Object] = ()
    runtime: str | None = None
    """The runtime of an attempt that starts."""
    check: Sequence[Object] = ()
    """The objects to create that the API server validates before anything is written."""
    objection: Finding | None = None
    """Why its runtime or the API server does not accept its spec."""
    stop: bool = False
    """Whether to delete its running Job."""
    due: datetime | None = None
    """When to reconcile again without an event."""


def decide(context: Context) -> Decision:
    """Decides whether a workload has ended, must stop, is running, must wait, or starts an attempt."""
    history, now = context.history, context.now
    attempts, spec = history.attempts, context.workload.spec
    last = attempts[-1] if attempts else None
    running = _running(context, last) if last else None

    if last and last.reason == COMPLETED:
        return Decision(_complete(context), attempts)
    # An attempt that runs was accepted, possibly by another version of the operator: no problem of the spec ends it.
    if context.objection and context.objection.phase == "Failed" and not running:
        return Decision(context.objection, attempts, stop=True)
    if last and last.completion_time and is_final(last, history.failures, spec.retries):
        return Decision(final_failure(last, history.failures, spec.retries), attempts)
    if context.deadline and now >= context.deadline:
        return Decision(_overdue(spec.active_deadline_seconds, context.limit), attempts, stop=True)
    if spec.suspend:
        return Decision(reasons.SUSPENDED(), attempts, stop=True)
    if overdue := _pending_overdue(context, context.pending_seconds):
        return overdue
    if running:
        return _run(context, running)
    disruptions = disruptions_in_a_row(attempts)
    if last and (start := next_start(last, history.failures, disruptions)) and now < start:
        return Decision(_back_off(last, start), attempts, due=start)
    if context.objection:
        return Decision(context.objection, attempts)
    return _start(context)


def _run(context: Context, running: Running) -> Decision:
    """Diagnoses the running attempt."""
    finding, due = diagnose(running)
    if finding.phase not in ("Running", "Queued"):
        # Volumes may fail to be attached minutes after the start of a pod, which only Events report.
        again = next_look(context.waiting_since, context.now, RETRY)
        due = min(due, again) if due else again
    workload, name = context.workload, names.config_map(context.workload)
    lost = any(name in message for message in running.mount_failures.values()) and not context.objection
    program = program_of(workload, context.trained) if lost else None
    apply = supporting_objects(context.observed.owner, workload, program, context.settings) if program else []
    return Decision(finding, context.history.attempts, apply=apply, due=due)


def _start(context: Context) -> Decision:
    """Starts the next attempt if it passes the preflight checks."""
    observed, given, now = context.observed, context.workload, context.now
    if isinstance(given, DreamBoothScene) and (
        untrained := why_untrained(given, observed.trained, program_of(given, context.trained), observed.referenced)
    ):
        return _blocked(context, [untrained])
    namespace = observed.referenced.get(Reference("Namespace", given.metadata.namespace or ""))
    runtime = choose_runtime(given, observed.runtimes, namespace, context.settings)
    if isinstance(runtime, Finding):
        return _blocked(context, [runtime])
    workload = with_runtime(given, runtime)
    program = program_of(workload, context.trained)
    assert program is not None, "the DreamBoothJob that a scene names exists"
    side = context.trained.spec.training.resolution if context.trained else None
    if problems := [*unknown_names(given, context.trained), *violations(Asked(given, program, side), runtime)]:
        finding = invalid_config(problems)
        return Decision(finding, context.history.attempts, objection=finding, stop=True)
    default = runtime.spec.defaults.pending_deadline_seconds
    if context.pending_seconds is None and (overdue := _pending_overdue(context, default)):
        return overdue
    attempts = with_current_attempt(context.history.attempts, workload)
    number, name = attempts[-1].number, attempts[-1].job_name
    blocking = blocking_jobs(observed.owner, observed.jobs, name)
    orphaned = orphans(observed.owner, blocking, observed.referenced)
    reported = {*orphaned, *(Reference("Job", name_of(one)) for one in blocking)}
    if blockers := [
        *earlier_objects(observed.owner, blocking, observed.pods, orphaned),
        *preflight_failures(
            observed.owner,
            program,
            created_objects(workload, program, number, context.settings),
            observed.referenced,
            runtime.spec.ca_bundle,
            reported,
        ),
    ]:
        return _blocked(context, blockers)
    start = plan_start(observed.owner, workload, program, number, observed.referenced, runtime, context.settings)
    # After the first attempt, it is known that the API server accepts what follows from the spec.
    check = [] if context.history.attempts else start.create
    item = refused_object(start, observed.refusals)
    if item and check and (causes := problems_of_the_spec(item, observed.invalid_fields, given, workload, program)):
        finding = reasons.INVALID_CONFIG(problems=" ".join(causes))
        return Decision(finding, context.history.attempts, objection=finding, stop=True)
    if refused := refused_write(start, observed.refusals):
        due = next_look(context.waiting_since, now, RETRY)
        return Decision(refused, context.history.attempts, start.apply, start.create, check=check, due=due)
    return Decision(start.finding, attempts, start.apply, start.create, runtime.name, check, due=now + GRACE_PERIOD)


def _blocked(context: Context, findings: Sequence[Finding]) -> Decision:
    """Waits for what the next attempt needs."""
    finding, now = reasons.together(findings), context.now
    if all(is_awaited(one, context.observed.owner, now) for one in findings):
        return Decision(awaited(finding), context.history.attempts, due=now + LOOK)
    return Decision(finding, context.history.attempts, due=next_look(context.waiting_since, now, RECHECK))


def _complete(context: Context) -> Finding:
    """The finding that the last attempt has completed."""
    output = context.output
    if output is None:
        return reasons.COMPLETE._replace(message="The result is where the deleted Job wrote it.")()
    return reasons.COMPLETE(path=output.path, claim=output.claim)


def _pending_overdue(context: Context, seconds: int | None) -> Decision | None:
    """The decision about a workload that has not started in time."""
    end = pending_deadline(context.pending_since, seconds)
    if end is None or context.now < end:
        return None
    finding = reasons.PENDING_DEADLINE_EXCEEDED(seconds=seconds, detail=context.last_message)
    return Decision(finding, context.history.attempts, stop=True)


def _overdue(own: int | None, limit: int | None) -> Finding:
    """The finding about an exceeded deadline: that of the workload, or that of its runtime."""
    if limit is not None and (own is None or limit < own):
        field = "limits.activeDeadlineSeconds of its runtime"
        return reasons.DEADLINE_EXCEEDED(field=field, seconds=limit)
    return reasons.DEADLINE_EXCEEDED(field="spec.activeDeadlineSeconds", seconds=own)


def _running(context: Context, attempt: Attempt) -> Running | None:
    """The attempt if it has not ended, and its Job exists and is not being deleted."""
    observed = context.observed
    found = [one for one in own_jobs(observed) if attempt_of(one) == attempt.number and not is_being_deleted(one)]
    if attempt.completion_time or not found:
        return None
    return Running(
        number=attempt.number,
        job=found[0],
        pods=[pod for pod in observed.pods if is_controlled_by(pod, uid_of(found[0]))],
        nodes=found[0].get("spec", {}).get("completions", context.workload.spec.resources.nodes),
        mount_failures=observed.mount_failures,
        unbound_claims=observed.unbound_claims,
        pod_creation_failure=observed.pod_creation_failures.get(name_of(found[0])),
        now=context.now,
        progress_error=observed.progress_error,
        works=reasons.TRAINING if isinstance(context.workload, DreamBoothJob) else reasons.GENERATING,
    )


def _back_off(attempt: Attempt, start: datetime) -> Finding:
    return reasons.BACK_OFF(
        number=attempt.number,
        reason=attempt.reason,
        detail=attempt.message,
        next=attempt.number + 1,
        time=f"{start:%H:%M:%S} UTC",
    )


def own_jobs(observed: Observed) -> list[Object]:
    """The Jobs of this workload, without those of an earlier one with the same name."""
    return [
        job for job in observed.jobs if is_controlled_by(job, uid_of(observed.owner)) and attempt_of(job) is not None
    ]


def trained_of(observed: Observed) -> DreamBoothJob | None:
    """What can be read of the DreamBoothJob that a DreamBoothScene names."""
    found = readable(observed.trained) if observed.trained else None
    return found if isinstance(found, DreamBoothJob) else None
