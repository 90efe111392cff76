"""Whole runs whose frozen weights are quantized."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.training import Model, Quantization
from dreambooth_trainer.models.loading import load_model
from dreambooth_trainer.models.quantization import QuantizedLinear
from dreambooth_trainer.phases.generation import sampler_of
from dreambooth_trainer.pipeline import run_phases
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import RunFolder
from dreambooth_trainer.trained import read_run
from dreambooth_trainer.training.loss_curve import read_losses
from tests.trainer.tiny_training import Job, job_of, weights_in, with_section, write_photos

LORA: dict[str, Any] = {
    **{"method": "lora", "lora": {"rank": 4}, "trainTextEncoder": False, "learningRate": 0.05},
    **{"steps": 4, "batchSize": 2},
}


def run(root: Path, kind: Quantization, **sections: Any) -> Job:
    """A finished run in this process, with its own class images."""
    job = job_of(root, kind, **{"training": {**LORA, "quantization": kind}, **sections})
    job = Job(job.folder, job.config, root / f"{kind}-cache")
    run_phases(job.run())
    return job


@pytest.fixture(scope="module")
def runs(tiny_training: Path) -> dict[Quantization, Job]:
    kinds: tuple[Quantization, ...] = ("none", "nf4")
    return {kind: run(tiny_training, kind) for kind in kinds}


def adapters_in(job: Job) -> dict[str, Tensor]:
    return load_file(job.output.model / "lora" / "pytorch_lora_weights.safetensors")


def sample(job: Job, name: str) -> Any:
    with Image.open(job.output.samples / f"00-{name}-00.png") as picture:
        return np.asarray(picture, dtype=int)


def test_the_exported_model_is_the_whole_base_model_with_the_adapters(
    runs: dict[Quantization, Job], tiny_training: Path
) -> None:
    """It differs from the base model by the product of the adapters alone."""
    base, exported = weights_in(tiny_training / "model"), weights_in(runs["nf4"].output.model / "diffusers")
    adapters = {name.removeprefix("unet."): tensor for name, tensor in adapters_in(runs["nf4"]).items()}
    adapted = {name.removesuffix(".lora_A.weight") for name in adapters if name.endswith(".lora_A.weight")}
    assert len(adapted) > 4
    for layer in adapted:
        moved = exported[f"denoiser.{layer}.weight"] - base[f"denoiser.{layer}.weight"]
        product = adapters[f"{layer}.lora_B.weight"] @ adapters[f"{layer}.lora_A.weight"]
        torch.testing.assert_close(moved, product, rtol=1e-4, atol=1e-5)
        assert float(product.abs().max()) > 1e-3
    others = base.keys() - {f"denoiser.{layer}.weight" for layer in adapted}
    assert all(torch.equal(exported[name], base[name]) for name in others)


def test_pictures_and_class_images_come_from_the_quantized_weights(
    runs: dict[Quantization, Job], tiny_training: Path
) -> None:
    before = {kind: sample(job, "before") for kind, job in runs.items()}
    assert abs(before["nf4"] - before["none"]).max() > 0
    assert abs(sample(runs["nf4"], "after") - before["nf4"]).max() > 10
    model = load_model(Model(source=str(tiny_training / "model")), torch.device("cpu"), torch.float32)
    model.quantize("nf4")
    config = runs["nf4"].run().config
    (image,) = model.generate(["a sks dog"], [0], sampler_of(config.samples), 64).images
    assert abs(np.asarray(image, dtype=int) - before["nf4"]).max() <= 2
    folders = {kind: {path.name for path in (job.cache / "class-images").iterdir()} for kind, job in runs.items()}
    assert not folders["nf4"] & folders["none"]


def test_the_losses_are_nearly_those_of_the_whole_weights(runs: dict[Quantization, Job]) -> None:
    losses = [[float(line["loss"]) for line in read_losses(job.output.losses)] for job in runs.values()]  # type: ignore[arg-type]
    whole, quantized = map(torch.tensor, losses)
    assert 0 < float((quantized - whole).abs().max()) < 0.02 * float(whole.mean())


def test_a_run_with_other_weights_in_the_same_folder_is_refused(runs: dict[Quantization, Job]) -> None:
    changed = with_section(runs["nf4"], training={"quantization": "int8"})
    with pytest.raises(InvalidConfig, match=r"spec\.training\.quantization: 'int8' differs from the 'nf4'"):
        run_phases(changed.run())


def test_changed_prompts_are_generated_from_the_exported_adapters(
    runs: dict[Quantization, Job], tmp_path: Path
) -> None:
    """Long after the training, whose weights are gone."""
    shutil.copytree(runs["nf4"].folder, tmp_path / "copy")
    copy = Job(tmp_path / "copy", runs["nf4"].config, runs["nf4"].cache)
    assert not copy.output.weights.exists()
    twice = with_section(copy, samples={"prompts": ["a {identifier} {class}"] * 2})
    run_phases(twice.run())
    assert abs(sample(twice, "after") - sample(runs["nf4"], "after")).max() <= 2


def test_weights_that_are_not_exported_yet_generate_as_they_were_trained(
    tiny_training: Path, runs: dict[Quantization, Job]
) -> None:
    """As `dreambooth generate` does for an unfinished run."""
    job = run(tiny_training, "int8", checkpoints={"keepLast": True})
    shutil.rmtree(job.output.model)
    job.output.complete.unlink()
    found = read_run(RunFolder(job.output.root))
    model, _ = found.load(found.weights(None), Distributed(), None)
    assert any(isinstance(layer, QuantizedLinear) for layer in model.denoiser.modules())
    (image,) = model.generate(["a sks dog"], [0], sampler_of(found.config.samples), 64).images
    assert abs(np.asarray(image, dtype=int) - sample(job, "after")).max() <= 2


@pytest.mark.slow
def test_the_embedded_model_learns_nearly_the_same(tmp_path: Path) -> None:
    """Errors of the predictions at all noise levels, and of the losses of a training."""
    write_photos(tmp_path / "photos")
    kinds: tuple[Quantization, ...] = ("none", "int8", "nf4")
    predictions, losses = {}, {}
    for kind in kinds:
        model = load_model(Model(source="embedded://emoji"), torch.device("cpu"), torch.float32)
        model.quantize(kind)
        generator = torch.Generator().manual_seed(0)
        z_BCHW, t_B = torch.randn(20, 4, 16, 16, generator=generator), torch.arange(20) * 50
        with torch.no_grad(), model.encoding():
            prompts = model.encode_prompts(model.tokenize(["a dog"] * 20))
            predictions[kind] = model.predict(z_BCHW, t_B, prompts, {})
        training = {**LORA, "learningRate": 1e-4, "steps": 40, "batchSize": 4, "quantization": kind}
        sections = {"prior": {"enabled": False}, "samples": {"prompts": []}, "model": {"source": "embedded://emoji"}}
        job = run(tmp_path, kind, training=training, **sections)
        losses[kind] = torch.tensor([line["loss"] for line in read_losses(job.output.losses)])

    def apart(of: dict[Quantization, Tensor], kind: Quantization) -> float:
        return float((of[kind] - of["none"]).norm() / of["none"].norm())

    errors = {kind: (apart(predictions, kind), apart(losses, kind)) for kind in kinds[1:]}
    print("errors of predictions and losses", errors)
    assert errors["int8"][0] < 0.01 and errors["int8"][1] < 0.01
    assert errors["nf4"][0] < 0.1 and errors["nf4"][1] < 0.1
