import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dreambooth_api.failures import ModelUnavailable
from dreambooth_api.model_families import FAMILIES
from dreambooth_api.training import Model
from dreambooth_trainer.models import load
from dreambooth_trainer.models.identity import downloads, identify
from dreambooth_trainer.models.loading import load_model
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.process.distributed import Distributed
from tests.trainer.tiny_models import Layout, build

CPU = torch.device("cpu")
FAMILY = FAMILIES["StableDiffusionPipeline"]


@pytest.fixture
def folder(tiny_folders: dict[Layout, Path], tmp_path: Path) -> Path:
    """A copy of the 1.x model, to be changed."""
    return shutil.copytree(tiny_folders["1.x"], tmp_path / "model")


@pytest.fixture(scope="module")
def single_files(
    tiny_models: dict[Layout, StableDiffusion], tmp_path_factory: pytest.TempPathFactory
) -> dict[Layout, Path]:
    root = tmp_path_factory.mktemp("single-file")
    for layout, model in tiny_models.items():
        (root / layout).mkdir()
        model.export(root / layout, ["single-file"])
    return {layout: root / layout for layout in tiny_models}


def read(source: Path, **settings: str) -> StableDiffusion:
    return load_model(Model(source=str(source), **settings), CPU, torch.float32)


def same_weights(one: StableDiffusion, other: StableDiffusion) -> bool:
    return all(
        torch.equal(tensor, theirs.state_dict()[name])
        for mine, theirs in zip(modules(one), modules(other), strict=True)
        for name, tensor in mine.state_dict().items()
    )


def modules(model: StableDiffusion) -> list[nn.Module]:
    return [model.denoiser, *model.text_encoders.values(), model.autoencoder.module]


def refusal(source: Path | str, **settings: str) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load_model(Model(source=str(source), **settings), CPU, torch.float32)
    message = str(caught.value)
    assert message.startswith("model.source: ") and str(source) in message
    assert "Give a complete folder" in message and "\n" not in message
    return message


def test_a_folder_is_loaded_frozen_in_float32(tiny_models: dict[Layout, StableDiffusion], layout: Layout) -> None:
    model = tiny_models[layout]
    for module in modules(model):
        assert not module.training
        assert {(parameter.dtype, parameter.requires_grad) for parameter in module.parameters()} == {
            (torch.float32, False)
        }
    assert model.resolution == 64
    assert model.commit is None


def test_the_family_is_found_for_the_world(tiny_folders: dict[Layout, Path]) -> None:
    model = load(Model(source=str(tiny_folders["1.x"])), Distributed(), "bf16")
    assert isinstance(model, StableDiffusion)
    assert (model.device, model.precision) == (Distributed().device, torch.bfloat16)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("bf16", True)])
def test_float32_is_not_rounded_to_tf32(
    tiny_folders: dict[Layout, Path], monkeypatch: pytest.MonkeyPatch, precision: str, allowed: bool
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not allowed)
    load(Model(source=str(tiny_folders["1.x"])), Distributed(), precision)
    assert torch.backends.cudnn.allow_tf32 == allowed
    assert not torch.backends.cuda.matmul.allow_tf32


def test_weights_of_a_variant_are_read(
    tiny_folders: dict[Layout, Path], tiny_models: dict[Layout, StableDiffusion], tmp_path: Path
) -> None:
    build("1.x").to(dtype=torch.float16).save_pretrained(tmp_path / "fp16", variant="fp16")
    model = read(tmp_path / "fp16", variant="fp16")
    whole = tiny_models["1.x"].denoiser.conv_in.weight
    assert model.denoiser.conv_in.weight.dtype == torch.float32
    assert torch.equal(model.denoiser.conv_in.weight, whole.half().float())
    assert "model.variant" in refusal(tmp_path / "fp16")
    assert "model.variant" in refusal(tiny_folders["1.x"], variant="fp16")


def test_a_single_file_is_the_same_model(
    single_files: dict[Layout, Path], tiny_models: dict[Layout, StableDiffusion], layout: Layout
) -> None:
    folder = single_files[layout]
    model = read(folder / "model.safetensors", config=str(folder / "config"))
    assert same_weights(model, tiny_models[layout])
    assert model.objective.predicts == tiny_models[layout].objective.predicts


def test_the_embedded_model_is_loaded() -> None:
    model = load_model(Model(source="embedded://emoji"), CPU, torch.float32)
    assert model.resolution == 64
    assert "dog" in model.vocabulary()


def test_incomplete_folders_are_refused(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "diffusion_pytorch_model.safetensors" in refusal(folder)
    shutil.rmtree(folder / "unet")
    assert "unet" in refusal(folder)
    (folder / "model_index.json").unlink()
    assert "model_index.json" in refusal(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    for weights in folder.rglob("*.safetensors"):
        torch.save({}, weights.with_name("pytorch_model.bin" if weights.stem == "model" else f"{weights.stem}.bin"))
        weights.unlink()
    assert ".safetensors" in refusal(folder)


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_files_of_another_format_are_refused(tmp_path: Path, tiny_folders: dict[Layout, Path], name: str) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / name)
    refusal(tmp_path / name, config=str(tiny_folders["1.x"]))


def test_truncated_weights_are_refused(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refusal(folder)


def test_other_families_are_refused(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    for name, reason in {
        "PixArtAlphaPipeline": "is a PixArtAlphaPipeline, which is not supported",
        "StableDiffusionXLPipeline": "lacks text_encoder_2, tokenizer_2",
    }.items():
        (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))
        assert reason in refusal(folder)


def test_distilled_models_are_refused(folder: Path) -> None:
    unet = folder / "unet" / "config.json"
    unet.write_text(json.dumps({**json.loads(unet.read_text()), "time_cond_proj_dim": 32}))
    assert "Give the model that it was distilled from" in refusal(folder)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "is of another process than DDPM"),
        ("vae/config.json", {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}, "normalises latents"),
    ],
)
def test_models_of_another_process_are_refused(
    folder: Path, file: str, content: dict[str, object], reason: str
) -> None:
    """As Playground's, whose pipeline is SDXL's."""
    before = json.loads((folder / file).read_text()) if file.startswith("vae") else {}
    (folder / file).write_text(json.dumps(before | content))
    if file.startswith("scheduler"):
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", "EDMEulerScheduler"]}))
    assert reason in refusal(folder)


def test_the_refiner_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "refiner.safetensors"
    save_file({"conditioner.embedders.0.model.positional_embedding": torch.zeros(1)}, file)
    assert "Give the SDXL base model" in refusal(file)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model here")
    refusal(tmp_path)


def test_the_digest_stands_for_the_content(folder: Path, tiny_models: dict[Layout, StableDiffusion]) -> None:
    assert read(folder).digest == tiny_models["1.x"].digest != tiny_models["2.x"].digest
    schedule = folder / "scheduler" / "scheduler_config.json"
    schedule.write_text(schedule.read_text().replace("0.012", "0.013"))
    assert read(folder).digest != tiny_models["1.x"].digest


def test_the_digest_depends_neither_on_the_path_nor_on_unread_files(folder: Path, tmp_path: Path) -> None:
    before = read(folder).digest
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "README.md").write_text("a model")
    (moved / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_text("a variant")
    (moved / "safety_checker").mkdir()
    (moved / "safety_checker" / "config.json").write_text("{}")
    assert identify(Model(source=str(moved))).digest == before


@pytest.mark.parametrize(
    "part", ["unet/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json", "vae/config.json"]
)
def test_the_digest_depends_on_all_that_is_read(folder: Path, part: str) -> None:
    before = identify(Model(source=str(folder))).digest
    content = (folder / part).read_bytes()
    (folder / part).write_bytes(content + b" ")
    assert identify(Model(source=str(folder))).digest != before


def test_the_configuration_of_a_single_file_changes_the_digest(
    single_files: dict[Layout, Path], tmp_path: Path
) -> None:
    folder = single_files["1.x"]
    before = identify(Model(source=str(folder / "model.safetensors"), config=str(folder / "config"))).digest
    copied = shutil.copytree(folder / "config", tmp_path / "config")
    there = Model(source=str(folder / "model.safetensors"), config=str(copied))
    assert identify(there).digest == before
    schedule = copied / "scheduler" / "scheduler_config.json"
    schedule.write_text(schedule.read_text().replace("0.012", "0.013"))
    assert identify(there).digest != before


def test_only_required_files_are_downloaded() -> None:
    from huggingface_hub.utils import filter_repo_objects

    repository = [
        "model_index.json",
        "v1-5-pruned.safetensors",
        "tokenizer/merges.txt",
        "safety_checker/model.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/diffusion_pytorch_model-00001-of-00002.safetensors",
        "vae/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    ]
    assert list(filter_repo_objects(repository, allow_patterns=downloads(FAMILY, None))) == [
        "model_index.json",
        "tokenizer/merges.txt",
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model-00001-of-00002.safetensors",
    ]
    assert list(filter_repo_objects(repository, allow_patterns=downloads(FAMILY, "fp16"))) == [
        "model_index.json",
        "tokenizer/merges.txt",
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    ]
