"""The one pure function of the operator: what is observed of a DreamBoothJob, the time and the settings make a plan.

Called by `control/controller.py` whenever anything about a job may have changed. It trusts no memory but the status, and
that one only for what can no longer be seen: whatever was lost between two writes is derived again and comes out the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dreambooth_api.cluster_rules import judge
from dreambooth_api.failures import Problem
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.status import Attempt, DreamBoothJobStatus
from dreambooth_operator.decide.builders.volumes import output_claim, output_path
from dreambooth_operator.decide.policies.apply_runtime import equipped
from dreambooth_operator.decide.policies.attempts import (
    Followed,
    begun,
    follow,
    is_final,
    next_start,
    outlived,
    verdict,
)
from dreambooth_operator.decide.policies.deadline import deadline_of, limit_of
from dreambooth_operator.decide.policies.expiry import expiry_of
from dreambooth_operator.decide.policies.leftovers import leftovers
from dreambooth_operator.decide.policies.limits import excesses
from dreambooth_operator.decide.policies.preflight import made, obstacle
from dreambooth_operator.decide.policies.runtimes import asked_for, choice
from dreambooth_operator.decide.policies.start import companions, refusal, start_of
from dreambooth_operator.decide.policies.suspension import suspended_seconds
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.compose import News, composed, dumped, metered
from dreambooth_operator.decide.status.conditions import holds
from dreambooth_operator.decide.status.diagnosis import PATIENCE, Running, diagnose
from dreambooth_operator.decide.status.events import events_of
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.decide.status.stored import stored_status
from dreambooth_operator.decide.status.termination_message import COMPLETED
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object, Observed, Plan, Reference
from dreambooth_operator.objects.reading import (
    attempt_of,
    generation_of,
    is_being_deleted,
    is_controlled_by,
    is_finished,
    name_of,
    newest_job,
    uid_of,
)
from dreambooth_operator.settings import Settings

RECHECK = timedelta(seconds=15)
"""Until what is missing, or in the way, is looked for again."""
RETRY = timedelta(seconds=30)
"""Until an object that was refused is tried again."""


@dataclass(frozen=True)
class Situation:
    """What is known of a sound job that has not ended."""

    observed: Observed
    job: DreamBoothJob
    """The DreamBoothJob, read."""
    followed: Followed
    """What became of its attempts."""
    deadline: datetime | None
    """When it must have ended."""
    limit: int | None
    """Seconds that its runtime lets it take."""
    now: datetime
    settings: Settings


@dataclass(frozen=True)
class Step:
    """What is decided for a job that had not ended."""

    finding: Finding
    """Where it stands."""
    attempts: Sequence[Attempt]
    """The record of its attempts."""
    apply: Sequence[Object] = ()
    create: Sequence[Object] = ()
    runtime: str | None = None
    """The runtime of an attempt that starts."""
    sound: bool = True
    """Whether its spec is."""
    stop: bool = False
    """Whether its running Job shall go."""
    due: datetime | None = None
    """When time alone will change something."""


def reconcile(observed: Observed, now: datetime, settings: Settings) -> Plan:
    """What shall be done for a DreamBoothJob, and what its status shall say."""
    now = now.astimezone(UTC).replace(microsecond=0)
    before = stored_status(observed.dreamboothjob)
    if is_being_deleted(observed.dreamboothjob):
        # A finalizer may keep it for long: nothing of it may go on as if nobody had deleted it.
        delete = [Reference("Job", name_of(one)) for one in _live(_own_jobs(observed))]
        return Plan(status=observed.dreamboothjob.get("status", {}), delete=delete)
    if _has_ended(before):
        return _after_the_end(observed, before, now)

    job, problems = judge(observed.dreamboothjob)
    jobs = _own_jobs(observed)
    followed = follow(before.attempts, before.failures, jobs, observed.pods, now)
    suspended = suspended_seconds(before, job is not None and job.spec.suspend, now)
    newest = newest_job(jobs)
    deadline = None
    if job is None:
        step = _unsound(problems, followed.attempts)
    else:
        limit = limit_of(newest) if newest else None
        if not job.spec.suspend:
            start = before.start_time or followed.start_time
            allowed = [seconds for seconds in (job.spec.active_deadline_seconds, limit) if seconds is not None]
            deadline = deadline_of(start, min(allowed, default=None), suspended)
        step = _next_step(Situation(observed, job, followed, deadline, limit, now, settings))

    news = News(
        owner=observed.dreamboothjob,
        job=job if step.sound else None,
        finding=step.finding,
        attempts=step.attempts,
        runtime=step.runtime or (newest["metadata"]["labels"].get(names.LABEL_RUNTIME) if newest else before.runtime),
        failures=followed.failures,
        suspended_seconds=suspended,
        last_word=followed.last_word,
        pods=_own_pods(observed),
        snapshot=observed.snapshot,
        now=now,
    )
    after = composed(before, news)
    due = (expiry_of(observed.dreamboothjob, after),) if _has_ended(after) else (step.due, deadline)
    current = step.attempts[-1].number if step.attempts and not step.stop else None
    unwanted = [one for one in _live(jobs) if attempt_of(one) != current] + outlived(jobs, step.attempts)
    return Plan(
        status=dumped(after),
        apply=step.apply,
        create=step.create,
        delete=[Reference("Job", name_of(one)) for one in unwanted],
        events=events_of(before, after, step.finding),
        requeue_after=_seconds(now, *due),
    )


def references(observed: Observed, now: datetime, settings: Settings) -> set[Reference]:
    """What `reconcile` needs to find in `Observed.present`: nothing while an attempt runs, nor after the end."""
    before, jobs = stored_status(observed.dreamboothjob), _own_jobs(observed)
    if is_being_deleted(observed.dreamboothjob) or _has_ended(before) or any(not is_finished(job) for job in jobs):
        return set()
    job, _ = judge(observed.dreamboothjob)
    if job is None:
        return set()
    followed = follow(before.attempts, before.failures, jobs, observed.pods, now)
    number = begun(followed.attempts, job.metadata.name)[-1].number
    return {*asked_for(job, observed.runtimes), *made(job, number, settings)}


def _next_step(situation: Situation) -> Step:
    """The story of a job: it ends, or it must stop, or it runs, or it waits, or it starts."""
    job, followed, now = situation.job, situation.followed, situation.now
    attempts, spec = followed.attempts, job.spec
    last = attempts[-1] if attempts else None

    if last and last.reason == COMPLETED:
        return Step(reasons.COMPLETE(path=output_path(job), claim=output_claim(job)), attempts)
    if last and last.completion_time and is_final(last, followed.failures, spec.retries):
        return Step(verdict(last, followed.failures, spec.retries), attempts)
    if situation.deadline and now >= situation.deadline:
        return Step(_overdue(spec.active_deadline_seconds, situation.limit), attempts, stop=True)
    if spec.suspend:
        return Step(reasons.SUSPENDED(), attempts, stop=True)
    if last and (running := _running(situation, last)):
        return _run(situation, running)
    if last and (start := next_start(last, followed.failures)) and now < start:
        return Step(_back_off(last, start), attempts, due=start)
    return _start(situation)


def _run(situation: Situation, running: Running) -> Step:
    """An attempt runs: say how far it is, or what keeps it from training."""
    finding, due = diagnose(running)
    name = names.config_map(situation.job.metadata.name)
    lost = any(name in message for message in running.mount_failures.values())
    apply = companions(situation.observed.dreamboothjob, situation.job, situation.settings) if lost else []
    return Step(finding, situation.followed.attempts, apply=apply, due=due)


def _start(situation: Situation) -> Step:
    """Nothing runs: start the next attempt, unless something is in the way."""
    observed, job, now = situation.observed, situation.job, situation.now
    namespace = observed.referenced.get(Reference("Namespace", job.metadata.namespace or ""))
    runtime = choice(job, observed.runtimes, namespace, situation.settings)
    if isinstance(runtime, Finding):
        return Step(runtime, situation.followed.attempts, due=now + RECHECK)
    if problems := excesses(job, runtime):
        return _unsound(problems, situation.followed.attempts)
    job = equipped(job, runtime)
    attempts = begun(situation.followed.attempts, job.metadata.name)
    blocked = leftovers(observed.dreamboothjob, observed.jobs, observed.pods, attempts[-1].job_name)
    blocked = blocked or obstacle(
        observed.dreamboothjob, job, attempts[-1].number, observed.referenced, situation.settings
    )
    if blocked:
        return Step(blocked, situation.followed.attempts, due=now + RECHECK)
    start = start_of(observed.dreamboothjob, job, attempts[-1].number, observed.referenced, runtime, situation.settings)
    if refused := refusal(start, observed.refusals):
        return Step(refused, situation.followed.attempts, start.apply, start.create, due=now + RETRY)
    return Step(start.finding, attempts, start.apply, start.create, runtime.name, due=now + PATIENCE)


def _unsound(problems: Sequence[Problem], attempts: Sequence[Attempt]) -> Step:
    finding = reasons.INVALID_CONFIG(problems=" ".join(map(str, problems)))
    return Step(finding, attempts, sound=False, stop=True)


def _overdue(own: int | None, limit: int | None) -> Finding:
    """What was exceeded: the job's own deadline, or that of its runtime."""
    if limit is not None and (own is None or limit < own):
        field = "limits.activeDeadlineSeconds of its runtime"
        return reasons.DEADLINE_EXCEEDED(field=field, seconds=limit)
    return reasons.DEADLINE_EXCEEDED(field="spec.activeDeadlineSeconds", seconds=own)


def _after_the_end(observed: Observed, before: DreamBoothJobStatus, now: datetime) -> Plan:
    """An ended job stays as it is, whatever becomes of its spec; what still runs is stopped, and its time may come."""
    delete = [Reference("Job", name_of(one)) for one in _live(_own_jobs(observed))]
    expiry = expiry_of(observed.dreamboothjob, before)
    if expiry and now >= expiry:
        delete.append(Reference("DreamBoothJob", name_of(observed.dreamboothjob)))
        expiry = None
    status = observed.dreamboothjob["status"]
    if before.gpus_held_since:
        status = dumped(metered(before, observed.dreamboothjob, _own_pods(observed), now))
    status = {**status, "observedGeneration": generation_of(observed.dreamboothjob)}
    return Plan(status=status, delete=delete, requeue_after=_seconds(now, expiry))


def _running(situation: Situation, attempt: Attempt) -> Running | None:
    """The attempt that has not ended, if its Job is there to stay."""
    observed = situation.observed
    found = [one for one in _own_jobs(observed) if attempt_of(one) == attempt.number and not is_being_deleted(one)]
    if attempt.completion_time or not found:
        return None
    return Running(
        number=attempt.number,
        job=found[0],
        pods=[pod for pod in observed.pods if is_controlled_by(pod, uid_of(found[0]))],
        nodes=situation.job.spec.resources.nodes,
        mount_failures=observed.mount_failures,
        refusal=observed.pod_creation_failures.get(name_of(found[0])),
        now=situation.now,
        progress_error=observed.progress_error,
    )


def _back_off(attempt: Attempt, start: datetime) -> Finding:
    return reasons.BACK_OFF(
        number=attempt.number,
        reason=attempt.reason,
        detail=attempt.message,
        next=attempt.number + 1,
        time=f"{start:%H:%M:%S} UTC",
    )


def _own_jobs(observed: Observed) -> list[Object]:
    """The Jobs of this very DreamBoothJob, not of an earlier one of its name."""
    return [
        job
        for job in observed.jobs
        if is_controlled_by(job, uid_of(observed.dreamboothjob)) and attempt_of(job) is not None
    ]


def _own_pods(observed: Observed) -> list[Object]:
    """The pods of this very DreamBoothJob, also those whose Job is gone."""
    uid = uid_of(observed.dreamboothjob)
    return [pod for pod in observed.pods if pod["metadata"].get("labels", {}).get(names.LABEL_UID) == uid]


def _live(jobs: Sequence[Object]) -> list[Object]:
    """Jobs that have not ended and that nobody has deleted yet."""
    return [job for job in jobs if not is_finished(job) and not is_being_deleted(job)]


def _has_ended(status: DreamBoothJobStatus) -> bool:
    return holds(status.conditions, "Complete") or holds(status.conditions, "Failed")


def _seconds(now: datetime, *due: datetime | None) -> float | None:
    """Seconds until the first of some times, at least one."""
    return min((max(1.0, (time - now).total_seconds()) for time in due if time is not None), default=None)
