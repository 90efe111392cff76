"""The status of a `DreamBoothJob`: written by the operator, read by people, `kubectl wait` and the printer columns."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

JobPhase = Literal["Pending", "Queued", "Starting", "Running", "Retrying", "Suspended", "Complete", "Failed"]
"""In one word where a job stands; the conditions say it in full."""

ConditionType = Literal["Accepted", "Running", "Suspended", "Complete", "Failed"]


def _of_this_world(time: datetime) -> datetime:
    if not 2000 <= time.year < 9000:
        raise ValueError("must lie in the years 2000 to 8999")
    return time


Moment = Annotated[AwareDatetime, AfterValidator(_of_this_world)]
"""A time that can be compared with others and added to."""

Count = Annotated[int, Field(ge=0)]
"""How many there are of something."""


class StatusSection(BaseModel):
    """Base of the status: camelCase in JSON; what an older or newer operator wrote is passed over."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Condition(StatusSection):
    """One thing that holds, or doesn't, as the API conventions define it."""

    type: ConditionType
    """What may hold."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str
    """CamelCase word for the last transition: see `decide/status/reasons.py`."""
    message: str
    """What happened and what to do, for people."""
    last_transition_time: Moment
    """When `status` changed last."""
    observed_generation: int
    """Generation of the spec that this was judged by."""


class ClassImages(StatusSection):
    """Class images of the prior."""

    done: Count
    """Drawn."""
    total: Count | None = None
    """Wanted."""


class TrainingProgress(StatusSection):
    """What the trainer told last."""

    phase: str | None = None
    """Phase of the trainer: prepare, prior, cache, train, export, sample or evaluate."""
    step: Count = 0
    """Optimizer steps done."""
    total_steps: Count | None = None
    """Optimizer steps of the whole training."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the whole run that is done; it never falls."""
    loss: float | None = None
    """Loss on the photos, four significant digits."""
    prior_loss: float | None = None
    """Loss on the class images, unweighted, four significant digits."""
    steps_per_second: float | None = None
    """Optimizer steps a second."""
    eta_seconds: Count | None = None
    """Seconds until the trainer's present phase will be done, when `updatedAt` was told."""
    class_images: ClassImages | None = None
    """Class images; none without prior preservation."""
    identifier: str | None = None
    """The word that means the subject."""
    device: str | None = None
    """The device that computes."""
    memory_bytes: Count | None = None
    """Resident memory of the main process."""
    device_memory_bytes: Count | None = None
    """Peak of the memory allocated on the main process's GPU."""
    updated_at: Moment | None = None
    """When the trainer told this."""


class Attempt(StatusSection):
    """One start of the training, by one Job."""

    number: Count
    """0 for the first."""
    job_name: str
    """Name of the Job."""
    start_time: Moment | None = None
    """When its first pod started."""
    completion_time: Moment | None = None
    """When its last pod ended."""
    reason: str | None = None
    """How it ended: `Completed` or a class of failure."""
    message: str | None = None
    """The trainer's last word, or what the cluster said."""
    exit_code: int | None = None
    """Exit code of the pod that decided it."""
    disruption: bool = False
    """Whether the cluster ended it (eviction, node loss, preemption), which `retries` doesn't count."""


class JobResult(StatusSection):
    """What a complete job left."""

    claim_name: str
    """Claim that holds it."""
    path: str
    """Folder of the run inside the volume."""
    model: str | None = None
    """Folder of the exported model, relative to `path`."""
    digest: str | None = None
    """SHA-256 that stands for the exported files."""
    sheet: str | None = None
    """Contact sheet of the samples, relative to `path`."""
    report: str | None = None
    """Report of the run (HTML), relative to `path`."""
    figures: dict[str, float | None] = {}
    """Figures of the evaluation, see the trainer's `figures.py`."""


class DreamBoothJobStatus(StatusSection):
    """Where a job stands."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    phase: JobPhase | None = None
    """In one word where the job stands."""
    message: str | None = None
    """Why, and what to do: the message of the condition that decides."""
    runtime: str | None = None
    """The DreamBoothRuntime of the last attempt."""
    conditions: list[Condition] = []
    """What holds and what doesn't, by type."""
    start_time: Moment | None = None
    """When the first pod of the first attempt started."""
    completion_time: Moment | None = None
    """When the job ended."""
    suspended_seconds: Count = 0
    """Seconds that the job was suspended after its start."""
    progress: TrainingProgress | None = None
    """What the trainer told last."""
    attempts: list[Attempt] = []
    """All attempts, the last ten at most."""
    failures: Count = 0
    """Attempts that ended by a failure that `retries` counts."""
    gpu_seconds: Count = 0
    """Seconds that pods held GPUs, times their number; up to `gpusHeldSince` where that is given."""
    gpus_held_since: Moment | None = None
    """Since when pods hold GPUs that `gpuSeconds` does not count yet."""
    result: JobResult | None = None
    """What a complete job left."""
