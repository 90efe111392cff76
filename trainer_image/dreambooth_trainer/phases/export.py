"""Exports the personalised model, which is the base model with the trained weights."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from dreambooth_api.progress import JsonModel
from dreambooth_api.training import Model, TrainConfig
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.process.storage import SUMS, atomic_folder, manifest_of, sha256_of
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.training.candidates import FILE
from dreambooth_trainer.training.module import DreamBoothModule, learned_tensors

"""Digests of the exported files, in the format that `sha256sum --check` reads."""


class Exported(JsonModel):
    """Result of the phase."""

    files: dict[str, str]
    """SHA-256 of every file, by its path in the model's folder."""


def export(run: Run, trained: Path) -> Exported:
    """Exports the model in the main process, for which the others wait. An interrupted export leaves no files.

    Args:
        run: the run.
        trained: folder of the trained weights.
    """
    files = _export(run, trained) if run.distributed.is_main else {}
    return Exported(files=run.distributed.share(files))


def _export(run: Run, trained: Path) -> dict[str, str]:
    config = run.config
    with run.progress.phase("export"):
        weights = load_file(trained / FILE)
        model = run.hand_over_model(exact=run.base.family.exports_float32, quantized=False)
        put_weights(DreamBoothModule(model, config.training, config.prior.weight), weights)
        with atomic_folder(run.folder.model) as folder:
            if config.training.method == "lora":
                parts = ("denoiser", *model.text_encoders)
                adapters = {part: learned_tensors(weights, part) for part in parts}
                model.export_adapters(folder / "lora", adapters, config.output.formats)
                model.merge_adapters()
            model.export(folder, config.output.formats)
            files = manifest_of(folder)
            (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in files.items()))
    return files


def put_weights(module: DreamBoothModule, weights: dict[str, Tensor]) -> None:
    """Replaces the trained parameters with gathered weights.

    Raises:
        ValueError: the weights don't fit the module.
    """
    learning = {name for name, _ in module.learning()}
    if learning != weights.keys():
        raise ValueError(f"trained weights don't fit the model; they differ in {sorted(learning ^ weights.keys())[:5]}")
    module.load_state_dict(weights, strict=False)


def exported_model(folder: RunFolder, config: TrainConfig) -> Model:
    """The exported model of a run, as a source for the model loader."""
    layouts: dict[str, Path] = {
        "diffusers": folder.model / "diffusers",
        "single-file": folder.model / "model.safetensors",
    }
    chosen = layouts["diffusers" if "diffusers" in config.output.formats else "single-file"]
    return Model(source=str(chosen.absolute()), config=str(folder.model / "config") if chosen.is_file() else None)


def load_exported(run: Run) -> ModelFamily:
    """The exported model, so that pictures show the model that people use. Frees the base model: memory holds one of
    the two at a time, if the caller has no reference to the base model either.

    With `training.quantization`, it is the quantized base model with the exported adapters instead, as in the training: the
    exported model may be too large for the device.
    """
    from dreambooth_trainer.models import load

    if run.config.training.quantization != "none":
        model = run.hand_over_model(exact=False)
        model.add_adapters(run.folder.model / "lora")
        return model
    run.free_model()
    # The list of digests identifies the model. To compute them again would take as long as to read all files.
    digest = sha256_of(run.folder.model / SUMS)
    return load(exported_model(run.folder, run.config), run.distributed, run.config.training.mixed_precision, digest)
