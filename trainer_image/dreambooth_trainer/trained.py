"""What a run has trained so far: the weights that its folder holds, and a model with them. Used by `generate.py`."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from dreambooth_api.failures import InvalidConfig, ModelUnavailable, Problem
from dreambooth_api.model_families import Family
from dreambooth_api.model_files import family_of
from dreambooth_api.prompts import Words
from dreambooth_api.scene_model import ADAPTER_FILE
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.choice import Choice
from dreambooth_trainer.models import identify, load
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.phase_records import MODEL, Beginning, Ledger, export_key
from dreambooth_trainer.phases.export import Exported, exported_model, put_weights
from dreambooth_trainer.phases.prepare import Prepared
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import digest_of, sha256_once
from dreambooth_trainer.result import FOLDER, read_result
from dreambooth_trainer.run import RunFolder, words_of_subjects
from dreambooth_trainer.training import checkpoints
from dreambooth_trainer.training.candidates import FILE, Candidates
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.state import StateReader, weights_in


@dataclass(frozen=True)
class Weights:
    """The trained weights after a step."""

    step: int
    files: Sequence[Path] = ()
    """Files of a checkpoint, or one of gathered weights; none if the exported model has them."""

    @property
    def exported(self) -> bool:
        """Whether they are those of the exported model."""
        return not self.files

    def read(self, module: DreamBoothModule) -> dict[str, Tensor]:
        """The weights that a checkpoint would export."""
        if [file.name for file in self.files] == [FILE]:
            return load_file(self.files[0])
        with StateReader(self.files) as reader:
            return weights_in(reader, dict(module.learning()), averaged=module.training_settings.ema.enabled)


@dataclass(frozen=True)
class TrainedRun:
    """A run whose training has begun."""

    folder: RunFolder
    config: TrainConfig
    """Its settings, with the commit of the base model."""
    identifiers: Sequence[str]
    """The words that mean the subjects."""
    base: str
    """Digest of the base model; see `models.identity.Identity`."""
    exported: int | None
    """Step of the exported model; None until it is exported."""

    @property
    def words(self) -> list[Words]:
        """The words of each subject."""
        return words_of_subjects(self.config, self.identifiers)

    @property
    def finished(self) -> bool:
        """Whether the run has finished all phases."""
        return self.folder.complete.exists()

    def weights(self, step: int | None) -> Weights:
        """The weights after a step; with None those of the exported model, or the newest ones.

        Raises:
            InvalidConfig: the folder has none.
        """
        if self.exported is not None and step in (None, self.exported):
            return Weights(self.exported)
        found = self._newest() if step is None else self._after(step)
        if found is None and step is None:
            message = "has no trained weights yet"
            raise InvalidConfig([Problem(FOLDER, str(self.folder.root), message, "Wait for its first checkpoint")])
        if found is None:
            message = f"is no step whose weights the run in {self.folder.root} has kept"
            known = ", ".join(map(str, self._steps()))
            raise InvalidConfig([Problem("spec.step", step, message, f"Give one of {known}" if known else "Remove it")])
        return found

    def family(self, weights: Weights) -> Family | None:
        """The family of a model with some weights; None for a pipeline that this version doesn't know.

        Raises:
            ModelUnavailable: the base model can't be loaded.
        """
        if weights.exported:
            return family_of(Path(exported_model(self.folder, self.config).source))
        return identify(self.config.model).family

    def load(self, weights: Weights, distributed: Distributed, adapter_scale: float | None) -> tuple[ModelFamily, str]:
        """A model with some weights, and a digest that identifies it.

        Args:
            weights: the weights.
            distributed: the device.
            adapter_scale: scale of the adapters; None for 1.

        Raises:
            ModelUnavailable: it can't be loaded, or the base model is another one than that of the run.
        """
        if not weights.exported:
            return self._base_with(weights, distributed, 1 if adapter_scale is None else adapter_scale)
        family = self.family(weights)
        # Rescaled adapters change the weights.
        exact = adapter_scale is not None and family is not None and family.exports_float32
        source = exported_model(self.folder, self.config)
        model = load(source, distributed, self.config.training.mixed_precision, exact=exact)
        if adapter_scale is not None and adapter_scale != 1:
            model.fuse_adapters(self.folder.model / "lora" / ADAPTER_FILE, adapter_scale - 1)
        return model, model.digest

    def _base_with(self, weights: Weights, distributed: Distributed, scale: float) -> tuple[ModelFamily, str]:
        config = self.config
        training = config.training
        model = load(config.model, distributed, training.mixed_precision, quantization=training.quantization)
        if model.digest != self.base:
            raise ModelUnavailable(
                f"model.source: {config.model.source!r} is another model than the one that the run in {self.folder.root} "
                "began with. Restore that model."
            )
        module = DreamBoothModule(model, config.training, config.prior.weight).eval()
        try:
            tensors = weights.read(module)
            digest = digest_of([self.base, [sha256_once(file) for file in weights.files]])
        except OSError as error:
            # An open file that is removed is stale on NFS. Some libraries give their errors no number.
            if not isinstance(error, FileNotFoundError) and error.errno != errno.ESTALE:
                raise
            raise ModelUnavailable(
                f"the training has removed its checkpoint after step {weights.step}, since it has newer ones. Start again."
            ) from error
        put_weights(module, {name: t * scale if ".lora_B." in name else t for name, t in tensors.items()})
        return model, digest

    def _newest(self) -> Weights | None:
        checkpoint = checkpoints.newest(self.folder.checkpoints)
        gathered = max(self._gathered(), default=None)
        if checkpoint and (gathered is None or checkpoint.step > gathered):
            return Weights(checkpoint.step, checkpoint.files)
        return None if gathered is None else self._after(gathered)

    def _after(self, step: int) -> Weights | None:
        if step in (gathered := self._gathered()):
            return Weights(step, [gathered[step]])
        checkpoint = checkpoints.at(self.folder.checkpoints, step)
        return Weights(step, checkpoint.files) if checkpoint else None

    def _gathered(self) -> dict[int, Path]:
        """Files of gathered weights by their steps: candidates, and the weights after the last step."""
        stored, last = Candidates(self.folder.candidates), self.folder.weights / FILE
        found = {step: stored.of(step) / FILE for step in stored.steps()}
        return found | ({self.config.training.steps: last} if last.exists() else {})

    def _steps(self) -> list[int]:
        exported = () if self.exported is None else (self.exported,)
        return sorted({*exported, *self._gathered(), *checkpoints.steps(self.folder.checkpoints)})


def read_run(folder: RunFolder) -> TrainedRun:
    """A run whose training has begun, finished or not.

    Raises:
        InvalidConfig: the folder holds none.
    """
    if folder.complete.exists():
        result = read_result(folder.result)
        step = result.choice.step if result.choice else result.training.steps
        config, commit = result.config, result.model.commit
        pinned = config.model.model_copy(update={"revision": commit or config.model.revision})
        config = config.model_copy(update={"model": pinned})
        return TrainedRun(folder, config, result.identifiers, result.model.digest, step)
    ledger = Ledger(folder.state)
    prepared = ledger.latest("prepare", Prepared)
    if not folder.settings.exists() or prepared is None:
        message, remedy = "holds no run whose training has begun", "Give the output folder of a `dreambooth run`"
        raise InvalidConfig([Problem(FOLDER, str(folder.root), message, remedy)])
    try:
        config = TrainConfig.model_validate_json(folder.settings.read_bytes())
        determined = Beginning.model_validate_json((folder.state / "training.json").read_bytes()).determined
    except (OSError, ValueError) as error:
        message = f"can't be read as the state of a run: {str(error).partition(chr(10))[0]}"
        problem = Problem(FOLDER, str(folder.state), message, "Start the run again with this version")
        raise InvalidConfig([problem]) from error
    exported = None
    if folder.model.exists() and ledger.recall("export", export_key(config, determined), Exported):
        choice = ledger.latest("choose", Choice) if config.training.stopping == "best" else None
        exported = choice.step if choice else config.training.steps
    return TrainedRun(folder, config, prepared.identifiers, str(determined[MODEL]), exported)
