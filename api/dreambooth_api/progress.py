"""Where a run stands, as the trainer publishes it: the schema of `/progress`, also read by console and metrics."""

from datetime import datetime
from typing import Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

TrainingPhase = Literal["prepare", "prior", "cache", "train", "choose", "export", "sample", "evaluate", "upload"]
ScenePhase = Literal["load", "generate"]
PhaseName = TrainingPhase | ScenePhase
PHASES: tuple[TrainingPhase, ...] = get_args(TrainingPhase)
"""The phases of a training in their order."""
SCENE_PHASES: tuple[ScenePhase, ...] = get_args(ScenePhase)
"""The phases of a scene in their order."""

MOST_WARNINGS, LONGEST_WARNING = 10, 300
"""How many warnings a snapshot has, and how many characters each; the report has all of them in full."""

PhaseState = Literal["pending", "running", "done", "skipped", "failed"]
Event = Literal["start", "advance", "end"]


class JsonModel(BaseModel):
    """Base of the models that are written as JSON: camelCase, immutable; numbers that aren't finite are written as null."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        frozen=True,
        use_attribute_docstrings=True,
    )


class Count(JsonModel):
    """How many of how many."""

    done: int
    """Finished, those of earlier starts included."""
    total: int | None
    """All; null while unknown."""


class PhaseProgress(JsonModel):
    """Where one phase stands."""

    name: PhaseName
    """Name of the phase."""
    state: PhaseState
    """`skipped`: its output was there already or isn't wanted; `failed`: an error or an interruption ended it."""
    done: int
    """Units finished, those of earlier starts included."""
    total: int | None
    """Units of the whole phase; null where nothing is counted."""
    unit: str
    """What is counted: `images`, `steps`; empty where nothing is."""
    seconds: float
    """Seconds that it took in this start of the run."""


class Snapshot(JsonModel):
    """Where the run stands: the body of `/progress`."""

    schema_version: Literal[1] = 1
    """Version of this schema; fields may be added to a version."""
    phase: PhaseName | None
    """The phase that runs, or the last one that ran; null before the first."""
    phases: list[PhaseProgress]
    """All phases in their order."""
    step: int
    """Optimizer steps done, those of earlier starts included. In a scene: those of the weights that it uses."""
    total_steps: int | None
    """Optimizer steps of the whole training; null while unknown."""
    checkpoint_step: int | None = None
    """Step of the newest checkpoint of the training; null without one."""
    percent: float
    """Share of the whole run that is done, 0 to 100, from the usual shares of the phases; it never falls."""
    loss: float | None
    """Loss of the last step on the photos (subject); null before the first step and where it isn't finite."""
    prior_loss: float | None
    """Loss of the last step on the class images, unweighted; null without prior preservation."""
    learning_rate: float | None
    """Learning rate of the denoiser at the last step."""
    grad_norm: float | None
    """Global norm of the gradients at the last step, before clipping."""
    steps_per_second: float | None
    """Optimizer steps a second over the last 50 reports of this start; null unless the training runs."""
    eta_seconds: float | None
    """Seconds until the phase that runs will be done; null while unknown."""
    training_images: int = 0
    """Photos and class images that the training steps of this start took, over all processes."""
    class_images: Count
    """Class images generated."""
    class_images_generated: int = 0
    """Class images that this process generated in this start. The others were in the cache, or other processes generate them."""
    identifier: str | None
    """The word that means the subject, the words of several subjects with commas; null until they are chosen."""
    warnings: list[str] = []
    """The first warnings about figures, photos, identifier and prompts."""
    device: str | None
    """The device that computes."""
    memory_bytes: int
    """Resident memory of the process (its peak where the system doesn't report the current value)."""
    device_memory_bytes: int | None
    """Peak of the memory allocated on the CUDA device; null without one."""
    started_at: datetime
    """When this start of the run began (RFC 3339)."""
    updated_at: datetime
    """When the run last reported anything (RFC 3339)."""

    @property
    def current(self) -> PhaseProgress | None:
        """The phase that `phase` names."""
        return next((phase for phase in self.phases if phase.name == self.phase), None)


class Observer(Protocol):
    """Called for every event, in the thread that reports it; `snapshot.current` is the phase that the event is about."""

    def __call__(self, event: Event, snapshot: Snapshot) -> None:
        """Handles an event."""
        ...
