"""The status of a `DreamBoothJob`: written by the operator, read by people, `kubectl wait` and the printer columns."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from dreambooth_api.sections import QUALIFIED_NAME

JobPhase = Literal["Pending", "Queued", "Starting", "Running", "Retrying", "Suspended", "Complete", "Failed"]
"""Phases that this version of the operator writes."""

ConditionType = Literal["Accepted", "Running", "Suspended", "Complete", "Failed", "Ready", "Reconciling", "Stalled"]
"""Types of conditions that this version of the operator writes."""

Reason = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
"""A reason in CamelCase, as in the conditions of Kubernetes."""

Message = Annotated[str, Field(max_length=32768)]
"""A message for people. The longest one is that of a condition in Kubernetes; the operator writes at most 1000 characters."""

NOT_OBSERVED = -1
"""`observedGeneration` before the operator has written a status: no generation of a spec has this number."""


def _between_2000_and_8999(time: datetime) -> datetime:
    if not 2000 <= time.year < 9000:
        raise ValueError("must lie in the years 2000 to 8999")
    return time


Moment = Annotated[AwareDatetime, AfterValidator(_between_2000_and_8999)]
"""A time with a time zone, within the years that arithmetic on times supports."""

Count = Annotated[int, Field(ge=0)]
"""A number of things."""


class StatusSection(BaseModel):
    """Base of the status: camelCase in JSON; unknown fields, which another version of the operator wrote, are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Condition(StatusSection):
    """A condition, as the API conventions of Kubernetes define it."""

    type: Annotated[str, Field(min_length=1, max_length=316, pattern=f"^{QUALIFIED_NAME}$")]
    """Type of the condition."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    reason: Reason
    """Reason for the last transition, in CamelCase. Reasons may be added."""
    message: Message
    """What happened and what to do, for people."""
    last_transition_time: Moment
    """When `status` changed last."""
    observed_generation: int
    """Generation of the spec that the condition is about."""


class ClassImages(StatusSection):
    """Number of class images."""

    done: Count
    """Class images that exist."""
    total: Count | None = None
    """Class images that the training needs."""


class Pictures(StatusSection):
    """Number of pictures."""

    done: Count
    """Pictures that exist."""
    total: Count | None = None
    """Pictures that the spec asks for."""


class TrainerProgress(StatusSection):
    """Last progress that the trainer reported, of any kind of work."""

    phase: str | None = None
    """Phase of the trainer. Of a training: prepare, prior, cache, train, choose, export, sample, evaluate or upload; of a
    scene: load or generate."""
    step: Count = 0
    """Optimizer steps done. Of a scene: those of the weights that it uses."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the whole work that is done; it never falls."""
    eta_seconds: Count | None = None
    """Estimated seconds, from `updatedAt`, until the trainer's current phase is done."""
    identifier: str | None = None
    """The word that means the subject; the words of several subjects with commas."""
    warnings: list[str] = []
    """The first warnings about figures, photos, identifier and prompts; the report of a training has all of them."""
    device: str | None = None
    """The device that computes."""
    memory_bytes: Count | None = None
    """Resident memory of the main process."""
    device_memory_bytes: Count | None = None
    """Peak of the memory allocated on the main process's GPU."""
    updated_at: Moment | None = None
    """When the trainer reported this."""


class TrainingProgress(TrainerProgress):
    """Last progress of a training that the trainer reported."""

    total_steps: Count | None = None
    """Optimizer steps of the whole training."""
    checkpoint_step: Count | None = None
    """Step of the newest checkpoint: where the training would continue, and of which a scene can be generated."""
    loss: float | None = None
    """Loss on the photos, four significant digits."""
    prior_loss: float | None = None
    """Loss on the class images, unweighted, four significant digits."""
    steps_per_second: float | None = None
    """Optimizer steps a second."""
    class_images: ClassImages | None = None
    """Class images; none without prior preservation."""


class SceneProgress(TrainerProgress):
    """Last progress of a scene that the trainer reported."""

    pictures: Pictures | None = None
    """Pictures; none before the model is loaded."""


class Attempt(StatusSection):
    """One attempt at the training, by one Job."""

    number: Count
    """0 for the first."""
    job_name: str
    """Name of the Job."""
    start_time: Moment | None = None
    """When its first pod started."""
    completion_time: Moment | None = None
    """When its last pod terminated."""
    reason: Reason | None = None
    """How it ended: `Completed` or a class of failure."""
    message: Message | None = None
    """Termination message of the trainer, or what the cluster reported."""
    exit_code: int | None = None
    """Exit code of the pod that decided how the attempt ended."""
    disruption: bool = False
    """Whether a disruption ended it (eviction, node loss, preemption), which `retries` doesn't count."""


class JobResult(StatusSection):
    """What a complete DreamBoothJob produced."""

    claim_name: str
    """PersistentVolumeClaim that holds it."""
    path: str
    """Folder of the run inside the volume."""
    model: str | None = None
    """Folder of the exported model, relative to `path`."""
    digest: str | None = None
    """SHA-256 digest of the exported files."""
    step: int | None = None
    """Step of the training whose weights the model has, see `spec.training.stopping`."""
    sheet: str | None = None
    """Contact sheet of the samples, relative to `path`."""
    report: str | None = None
    """Report of the run (HTML), relative to `path`."""
    uploaded: str | None = None
    """Where the results were copied to, see `spec.output.upload`."""
    figures: dict[str, float | None] = {}
    """Figures of the evaluation, see the trainer's `figures.py`."""


class SceneResult(StatusSection):
    """What a complete DreamBoothScene produced."""

    claim_name: str
    """PersistentVolumeClaim that holds it."""
    path: str
    """Folder of the pictures inside the volume."""
    pictures: Count | None = None
    """Number of pictures."""
    step: int | None = None
    """Step of the training whose weights generated them."""
    sheet: str | None = None
    """Contact sheet, relative to `path`."""
    record: str | None = None
    """JSON file with prompt and seed of each picture, relative to `path`."""


class WorkloadStatus(StatusSection):
    """Status of a DreamBoothJob or DreamBoothScene, without its progress and its result."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    phase: Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z]*$")] | None = None
    """Summary of where the object is in its life; programs should read the conditions. `Pending`: it waits for what an
    attempt needs. `Queued`: it waits for its admission by Kueue. `Starting`: pods are being started. `Running`: the trainer
    runs. `Retrying`: it waits for the next attempt. `Suspended`: `spec.suspend` is true. `Complete`: what was asked for exists.
    `Failed`: no attempt follows. Further phases may be added."""
    message: Message | None = None
    """Reason for the phase, and what to do: the message of the condition that decides it."""
    runtime: str | None = None
    """The DreamBoothRuntime of the last attempt."""
    conditions: list[Condition] = []
    """Conditions, by type. `Accepted`: the spec is valid. `Running`, `Suspended`, `Complete` and `Failed`: see `phase`. `Ready`,
    `Reconciling` and `Stalled`: those by which tools such as Helm and Flux assess any kind of object. Further types may be
    added."""
    start_time: Moment | None = None
    """When the first pod of the first attempt started."""
    completion_time: Moment | None = None
    """When it completed or failed."""
    suspended_seconds: Count = 0
    """Seconds for which it was suspended after its start."""
    queued_seconds: Count | None = None
    """Seconds for which it waited in the queue after its start, up to `queuedSince` where that is set."""
    queued_since: Moment | None = None
    """Time since which it waits in the queue again."""
    attempts: list[Attempt] = []
    """The last attempts, at most ten."""
    failures: Count = 0
    """Attempts that ended with a failure that `retries` counts."""
    gpu_seconds: Count = 0
    """GPU seconds that the pods used: seconds times GPUs, up to `gpusHeldSince` where that is set."""
    gpus_held_since: Moment | None = None
    """Time since which pods hold GPUs that `gpuSeconds` does not count yet."""


class DreamBoothJobStatus(WorkloadStatus):
    """Status of a DreamBoothJob."""

    progress: TrainingProgress | None = None
    """Last progress that the trainer reported."""
    result: JobResult | None = None
    """What a complete DreamBoothJob produced."""


class DreamBoothSceneStatus(WorkloadStatus):
    """Status of a DreamBoothScene."""

    progress: SceneProgress | None = None
    """Last progress that the trainer reported."""
    result: SceneResult | None = None
    """What a complete DreamBoothScene produced."""
