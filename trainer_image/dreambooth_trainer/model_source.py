"""A model with low-rank adapters as what generates a scene, without a run. Used by `scene_sources.py`.

If the model or an adapter is in the folder of a finished run, the scene has the words and settings of that run.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dreambooth_api.failures import InvalidConfig, ModelUnavailable, OutOfMemory, Problem, classify
from dreambooth_api.model_families import Family
from dreambooth_api.prompts import ANY_SUBJECT, Words
from dreambooth_api.scene import Scene, texts_of, unknown_subjects
from dreambooth_api.scene_model import Adapter, SceneModel, unknown_words
from dreambooth_api.training import Model, Samples
from dreambooth_trainer.models import identify, load
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.models.sources import locate
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import digest_of, sha256_once
from dreambooth_trainer.result import RunResult, read_result
from dreambooth_trainer.run import RunFolder, words_of_subjects


@dataclass(frozen=True)
class ModelSource:
    """A model and its adapters; see `Source`."""

    scene: Scene
    model: SceneModel

    step: None = None
    steps: None = None

    @cached_property
    def run(self) -> RunResult | None:
        """The result of the run in whose folder the model or an adapter is."""
        sources = [self.model.source, *(one.source for one in self.model.adapters)]
        found = (_result_of_run(Path(source)) for source in sources if "://" not in source)
        return next((one for one in found if one), None)

    @property
    def words(self) -> Sequence[Words]:
        """The words that are given, else those of the run."""
        given, run = self.model, self.run
        if run and not (given.identifier or given.class_):
            return words_of_subjects(run.config, run.identifiers)
        of_run = (run.identifiers[0], run.config.classes[0]) if run and not run.subjects else ("", "")
        return [Words(given.identifier or of_run[0], given.class_ or of_run[1])]

    @property
    def samples(self) -> Samples:
        """Those of the run, else the defaults."""
        return self.run.config.samples if self.run else Samples()

    @property
    def resolution(self) -> int | None:
        """That of the run."""
        return self.run.config.training.resolution if self.run else None

    def family(self) -> Family:
        """The family of the model.

        Raises:
            ModelUnavailable: it can't be loaded.
        """
        return identify(self.model).family

    def problems(self) -> Iterator[Problem]:
        """Placeholders that stand for nothing."""
        words = self.words
        if names := [one.name for one in words if one.name]:
            yield from unknown_subjects(self.scene, names)
            return
        known = [name for name, word in zip(ANY_SUBJECT, words[0][:2], strict=True) if word]
        for field, text in texts_of(self.scene).items():
            yield from unknown_words(field, text, known)

    def load(self, distributed: Distributed) -> tuple[ModelFamily, str]:
        """The model with its adapters, and a digest that identifies it.

        Raises:
            InvalidConfig: a scale is given for DoRA adapters.
            ModelUnavailable: the model or an adapter can't be loaded, or they don't fit each other.
        """
        adapters = {f"model.adapters[{number}]": one for number, one in enumerate(self.model.adapters)}
        # Adapters are small: what is wrong with them is found before gigabytes are loaded.
        files = {field: _file_of(field, one) for field, one in adapters.items()}
        dora = [field for field, one in adapters.items() if one.scale != 1 and _is_dora(files[field])]
        if dora:
            raise InvalidConfig([_scale_of_dora(field, adapters[field]) for field in dora])
        precision = self.run.config.training.mixed_precision if self.run else "auto"
        model = load(self.model, distributed, precision, exact=bool(adapters) and self.family().exports_float32)
        if not adapters:
            return model, model.digest
        for field, one in adapters.items():
            _add(model, field, one, files[field])
        return model, digest_of(
            [model.digest, [[sha256_once(files[field]), one.scale] for field, one in adapters.items()]]
        )


def _result_of_run(path: Path) -> RunResult | None:
    """The result of the run that has exported a model or adapters to a path; None if there is none that can be read."""
    for folder in (path, *path.parents[:2]):
        if folder == RunFolder(folder.parent).model:
            try:
                return read_result(RunFolder(folder.parent).result)
            except InvalidConfig:
                return None
    return None


def _file_of(field: str, adapter: Adapter) -> Path:
    """The file of an adapter, downloaded if it is on the hub."""
    source = Model(source=adapter.source, revision=adapter.revision)
    path = locate(source, [adapter.file], field=f"{field}.source").path
    file = path if path.is_file() else path / adapter.file
    if not file.is_file() or file.suffix != ".safetensors":
        there = sorted(one.relative_to(path).as_posix() for one in path.rglob("*.safetensors")) if path.is_dir() else []
        found = f"; there are {', '.join(there[:5])}" if there else ""
        raise ModelUnavailable(
            f"{field}.file: {adapter.file!r} is no file of {adapter.source!r}{found}. Give the path of a .safetensors file in "
            "the folder or repository."
        )
    return file


def _is_dora(file: Path) -> bool:
    """Whether adapters have learned magnitudes, in the names of diffusers or of other trainers."""
    # What can't be read is a problem of the source, not of the scale.
    with suppress(SafetensorError), safe_open(file, framework="pt") as opened:
        return any("magnitude_vector" in name or "dora_scale" in name for name in opened.keys())  # noqa: SIM118  # no mapping
    return False


def _scale_of_dora(field: str, adapter: Adapter) -> Problem:
    message = f"can't be applied to {adapter.source}, which is DoRA: its change of the weights is no multiple of it"
    return Problem(f"spec.{field}.scale", adapter.scale, message, "Remove it")


def _add(model: ModelFamily, field: str, adapter: Adapter, file: Path) -> None:
    try:
        model.fuse_adapters(file, adapter.scale)
    except Exception as error:
        if isinstance(failure := classify(error), OutOfMemory):
            raise failure from error
        raise ModelUnavailable(
            f"{field}.source: {adapter.source!r} can't be added to the model: {str(error).partition(chr(10))[0].rstrip('.')}. "
            "Give adapters that were trained for this model, in the layout that diffusers loads."
        ) from error
