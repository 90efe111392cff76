from datetime import datetime, timedelta
from typing import Any

import pytest

from dreambooth_api.status import Condition, DreamBoothJobStatus, TrainingProgress
from dreambooth_operator.control.workload_metrics import (
    END_REASONS,
    NAMESPACE_SECONDS,
    OTHER,
    WorkloadMetrics,
)
from dreambooth_operator.decide.status.compose import to_json
from dreambooth_operator.kube.cache import Store
from tests.operator.objects_of import dreambooth_job
from tests.operator.pieces import at, moment


class Story:
    """A cache with DreamBoothJobs that were created at 0, and its metrics at any time."""

    def __init__(self) -> None:
        self.now: datetime = at(0)
        self.store = Store()
        self.metrics = WorkloadMetrics(self.store, lambda: self.now)
        self.version = 0

    def put(self, name: str = "dog", gpus: int = 0, **status: Any) -> dict[str, Any]:
        self.version += 1
        job = dreambooth_job(name, self.version, spec={"resources": {"gpusPerNode": gpus}})
        job["metadata"]["creationTimestamp"] = moment(0)
        job["status"] = dict(to_json(DreamBoothJobStatus(**status)))
        self.store.put(job)
        return job

    def remove(self, name: str = "dog") -> None:
        self.version += 1
        self.store.remove(dreambooth_job(name, self.version))

    def write(self, job: dict[str, Any], **status: Any) -> dict[str, Any]:
        """Writes a new status, as the operator does."""
        written = self.put(job["metadata"]["name"], **status)
        self.metrics.observe(job, written["status"])
        return written

    def scrape(self, seconds: float | None = None) -> None:
        if seconds is not None:
            self.now = at(seconds)
        self.samples = {
            (sample.name.removeprefix("dreambooth_"), *(sample.labels.get(name, "") for name in LABELS)): sample.value
            for family in self.metrics.collect()
            for sample in family.samples
        }

    def value(
        self, name: str, phase: str = "", reason: str = "", namespace: str = "space", le: str = ""
    ) -> float | None:
        return self.samples.get((name, namespace, phase, reason, le))


LABELS = "namespace", "phase", "reason", "le"


@pytest.fixture
def story() -> Story:
    return Story()


def condition(type_: str, status: str, reason: str, after: float = 0) -> Condition:
    return Condition.model_validate(
        {
            "type": type_,
            "status": status,
            "reason": reason,
            "message": "",
            "last_transition_time": at(after),
            "observed_generation": 1,
        }
    )


def standing(phase: str, reason: str, after: float = 0, **more: Any) -> dict[str, Any]:
    held = "True" if phase == "Running" else "False"
    return {"phase": phase, "conditions": [condition("Running", held, reason, after)], **more}


def test_dreamboothjobs_are_counted_by_phase_and_reason(story: Story) -> None:
    story.put("new")
    story.put("dog", **standing("Running", "Training"))
    story.put("cat", **standing("Running", "Training"))
    story.put("fox", **standing("Pending", "Unschedulable"))
    story.scrape()
    assert story.value("jobs", "Pending", "") == 1
    assert story.value("jobs", "Running", "Training") == 2
    assert story.value("jobs", "Pending", "Unschedulable") == 1
    story.put("fox", **standing("Running", "Training"))
    story.remove("dog")
    story.scrape()
    assert story.value("jobs", "Running", "Training") == 2
    assert story.value("jobs", "Pending", "Unschedulable") is None


def test_an_unknown_reason_creates_no_series(story: Story) -> None:
    for number in range(5):
        story.put(f"job-{number}", **standing("Failed", f"Invented{number}"))
    story.scrape()
    assert story.value("jobs", "Failed", OTHER) == 5
    assert not any("Invented" in label for labels in story.samples for label in labels)


def test_no_series_has_the_name_of_a_dreamboothjob(story: Story) -> None:
    story.put("very-own-name", **standing("Running", "Training"))
    story.scrape()
    assert not any("very-own-name" in label for labels in story.samples for label in labels)


def test_the_longest_wait_is_reported_until_it_ends(story: Story) -> None:
    story.put("dog", **standing("Pending", "Unschedulable", 10))
    story.put("cat", **standing("Pending", "Unschedulable", 40))
    story.put("fox", **standing("Complete", "Complete", 0))
    story.scrape(100)
    assert story.value("jobs_longest_wait_seconds", "Pending", "Unschedulable") == 90
    story.put("dog", **standing("Running", "Training", 100))
    story.scrape(110)
    assert story.value("jobs_longest_wait_seconds", "Pending", "Unschedulable") == 70
    story.put("cat", **standing("Running", "Training", 110))
    story.scrape(110)
    assert not any(labels[0] == "jobs_longest_wait_seconds" for labels in story.samples)


def test_a_wait_starts_when_a_suspension_ends(story: Story) -> None:
    conditions = [condition("Running", "False", "Unschedulable", 10), condition("Suspended", "False", "Resumed", 500)]
    story.put(phase="Pending", conditions=conditions)
    story.scrape(600)
    assert story.value("jobs_longest_wait_seconds", "Pending", "Unschedulable") == 100


def test_the_longest_silence_grows_while_progress_does_not_change(story: Story) -> None:
    story.put(**standing("Running", "Training", 10))
    story.scrape(100)
    assert story.value("jobs_longest_silence_seconds") == 90
    story.put(**standing("Running", "Training", 10, progress=TrainingProgress(step=1, updated_at=at(95))))
    story.scrape(100)
    assert story.value("jobs_longest_silence_seconds") == 5
    story.put(**standing("Complete", "Complete", 110))
    story.scrape(200)
    assert story.value("jobs_longest_silence_seconds") is None


def test_gpu_time_never_decreases(story: Story) -> None:
    story.scrape(0)
    story.put(gpus=2, gpu_seconds=0, gpus_held_since=at(10))
    values = []
    for seconds in (40, 70):
        story.scrape(seconds)
        values.append(story.value("gpu_seconds_total"))
    assert values == [60, 120]
    # The pods had ended five seconds before.
    story.put(gpus=2, gpu_seconds=110)
    story.scrape(80)
    assert story.value("gpu_seconds_total") == 120
    story.put(gpus=2, gpu_seconds=110, gpus_held_since=at(90))
    story.scrape(100)
    assert story.value("gpu_seconds_total") == 130
    story.remove()
    story.scrape(101)
    assert story.value("gpu_seconds_total") == 130


def test_another_leader_counts_gpu_time_from_its_start(story: Story) -> None:
    story.put(gpus=1, gpu_seconds=1000, gpus_held_since=at(0))
    story.scrape(100)
    assert story.value("gpu_seconds_total") == 0
    story.scrape(130)
    assert story.value("gpu_seconds_total") == 30
    story.put("new", gpus=1, gpu_seconds=7)
    story.scrape(130)
    assert story.value("gpu_seconds_total") == 37


def test_transitions_are_counted_once(story: Story) -> None:
    job = story.put()
    story.scrape(0)
    assert story.value("jobs_finished_total", reason="NonFiniteLoss") == 0
    job = story.write(job, **standing("Starting", "Starting"))
    started: dict[str, Any] = {"start_time": at(45)}
    job = story.write(job, **standing("Running", "Training"), **started)
    story.now = at(100)
    for step in (0, 3, 4):
        job = story.write(job, **standing("Running", "Training", progress=TrainingProgress(step=step)), **started)
    ended = standing("Failed", "NonFiniteLoss", completion_time=at(120), progress=TrainingProgress(step=4)) | started
    job = story.write(job, **ended)
    story.write(job, **ended, gpu_seconds=9)
    story.scrape()
    assert (story.value("job_queueing_seconds_count"), story.value("job_queueing_seconds_sum")) == (1, 45)
    assert (story.value("job_first_step_seconds_count"), story.value("job_first_step_seconds_sum")) == (1, 100)
    assert story.value("jobs_finished_total", reason="NonFiniteLoss") == 1
    assert sum(story.value("jobs_finished_total", reason=reason) or 0 for reason in (*END_REASONS, OTHER)) == 1


def test_no_first_step_is_observed_if_only_the_end_was_seen(story: Story) -> None:
    job = story.put(**standing("Starting", "Starting"))
    story.write(job, **standing("Complete", "Complete", completion_time=at(50), progress=TrainingProgress(step=20)))
    story.scrape(60)
    assert story.value("job_first_step_seconds_count") == 0
    assert story.value("jobs_finished_total", reason="Complete") == 1


def test_series_of_a_namespace_without_dreamboothjobs_are_kept_for_an_hour(story: Story) -> None:
    job = story.put(gpus=1)
    story.write(job, **standing("Failed", "OutOfMemory", completion_time=at(5)))
    story.remove()
    story.scrape(NAMESPACE_SECONDS - 1)
    assert story.value("jobs_finished_total", reason="OutOfMemory") == 1
    assert story.value("jobs", "Failed", "OutOfMemory") is None
    story.scrape(NAMESPACE_SECONDS + 1)
    assert story.samples == {}


def test_times_are_not_negative_if_clocks_differ(story: Story) -> None:
    job = story.put()
    story.now = at(0) - timedelta(seconds=30)
    story.write(job, **standing("Running", "Training", 60, start_time=story.now))
    story.scrape()
    assert story.value("job_queueing_seconds_sum") == 0
    assert story.value("jobs_longest_silence_seconds") == 0
