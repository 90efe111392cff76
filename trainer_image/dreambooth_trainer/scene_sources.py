"""What generates the pictures of a scene: weights of a run, or a model with adapters. Used by `generate.py`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.model_families import Family
from dreambooth_api.prompts import Words
from dreambooth_api.scene import Scene, unknown_subjects
from dreambooth_api.training import Samples
from dreambooth_trainer.model_source import ModelSource
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.result import FOLDER
from dreambooth_trainer.run import RunFolder
from dreambooth_trainer.trained import TrainedRun, Weights, read_run


class Source(Protocol):
    """What generates."""

    @property
    def words(self) -> Sequence[Words]:
        """The words of each subject; at least one, whose words may be empty."""
        ...

    @property
    def samples(self) -> Samples:
        """The default of the sampler."""
        ...

    @property
    def resolution(self) -> int | None:
        """Default of the sides of a picture; None: the resolution of the model."""
        ...

    @property
    def step(self) -> int | None:
        """Step of the training whose weights generate; None without a training."""
        ...

    @property
    def steps(self) -> int | None:
        """Steps of the whole training."""
        ...

    def family(self) -> Family | None:
        """The family of the model; None for a pipeline that this version doesn't know.

        Raises:
            ModelUnavailable: it can't be loaded.
        """
        ...

    def problems(self) -> Iterator[Problem]:
        """What of the scene doesn't fit."""
        ...

    def load(self, distributed: Distributed) -> tuple[ModelFamily, str]:
        """The model, and a digest that identifies it.

        Raises:
            ModelUnavailable: it can't be loaded.
        """
        ...


@dataclass(frozen=True)
class TrainedSource:
    """Weights of a run; see `Source`."""

    scene: Scene
    run: TrainedRun
    weights: Weights

    @property
    def words(self) -> Sequence[Words]:
        """Those of the run."""
        return self.run.words

    @property
    def samples(self) -> Samples:
        """Those of the run."""
        return self.run.config.samples

    @property
    def resolution(self) -> int | None:
        """That of the training."""
        return self.run.config.training.resolution

    @property
    def step(self) -> int:
        """Step of the weights."""
        return self.weights.step

    @property
    def steps(self) -> int:
        """Steps of the training, which may have been continued since."""
        return max(self.weights.step, self.run.config.training.steps)

    def family(self) -> Family | None:
        """The family of the model with the weights."""
        return self.run.family(self.weights)

    def problems(self) -> Iterator[Problem]:
        """Placeholders of other subjects, and a scale that has no effect."""
        yield from unknown_subjects(self.scene, [one.name for one in self.run.words if one.name])
        scale, training = self.scene.adapter_scale, self.run.config.training
        if scale is not None and training.method != "lora":
            message, remedy = (
                "has no effect, because the run trained all weights",
                "Remove it, or give a run of method lora",
            )
            yield Problem("spec.adapterScale", scale, message, remedy)
        elif scale is not None and training.lora.use_dora:
            message = "can't be applied, because the run trained DoRA, whose change of the weights is no multiple of its adapters"
            yield Problem("spec.adapterScale", scale, message, "Remove it")

    def load(self, distributed: Distributed) -> tuple[ModelFamily, str]:
        """See `TrainedRun.load`."""
        return self.run.load(self.weights, distributed, self.scene.adapter_scale)


def source_of(folder: RunFolder | None, scene: Scene, warn: Callable[[str], None]) -> Source:
    """What generates a scene: its model, or weights of a run.

    Args:
        folder: the folder of the run; None for a scene that names a model.
        scene: the scene.
        warn: called with each warning.

    Raises:
        InvalidConfig: neither or both are given, or the folder holds no run with trained weights.
    """
    if folder and scene.model:
        message, remedy = "is given in addition to the model of the scene", "Remove one of them"
        raise InvalidConfig([Problem(FOLDER, str(folder.root), message, remedy)])
    if scene.model:
        return ModelSource(scene, scene.model)
    if folder is None:
        message, remedy = "is missing, and the scene names no model", "Give the folder of a run"
        raise InvalidConfig([Problem(FOLDER, None, message, remedy)])
    run = read_run(folder)
    weights = run.weights(scene.step)
    if scene.step is None and not run.finished:
        warn(f"the run has not finished: the weights are those after step {weights.step}")
    return TrainedSource(scene, run, weights)
