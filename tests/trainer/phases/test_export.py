import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file

from dreambooth_api.training import Model, Sampler
from dreambooth_trainer.models.loading import load_model
from dreambooth_trainer.models.stable_diffusion.model import SCHEDULERS, StableDiffusion
from dreambooth_trainer.phases import export
from dreambooth_trainer.phases.export import exported_model, load_exported
from tests.trainer.older_libraries import adapter_names
from tests.trainer.tiny_models import Layout, loaded
from tests.trainer.trained_models import TRAININGS, Train, train

PROMPTS, SEEDS = ["a sks dog", "a dog"], [3, 4]
SAMPLER = Sampler(scheduler="ddim", steps=3, guidance_scale=3)


def pictures(model: StableDiffusion) -> list[bytes]:
    return [image.tobytes() for image in model.generate(PROMPTS, SEEDS, SAMPLER, 64).images]


def stock_pictures(pipeline: DiffusionPipeline) -> list[bytes]:
    pipeline.scheduler = SCHEDULERS["ddim"].from_config(pipeline.scheduler.config, clip_sample=False)
    images = pipeline(
        PROMPTS,
        num_inference_steps=SAMPLER.steps,
        guidance_scale=SAMPLER.guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
    ).images
    return [image.tobytes() for image in images]


def nearly(one: list[bytes], other: list[bytes]) -> bool:
    """Whether pictures differ only by rounding: merged adapters and other attention kernels add in another order."""
    a, b = (torch.tensor([list(image) for image in images], dtype=torch.float) for images in (one, other))
    return bool((a - b).abs().max() <= 2)


@pytest.mark.slow
@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_stock_pipelines_generate_the_same_pictures(
    trained: Train,
    tiny_models: dict[Layout, StableDiffusion],
    tiny_folders: dict[Layout, Path],
    layout: Layout,
    training: dict[str, Any],
) -> None:
    run, model = trained(layout, training)
    expected = pictures(model)
    assert not nearly(expected, pictures(tiny_models[layout]))
    export.export(run, run.folder.weights)
    folder = run.folder.model

    stock, nothing_else = type(model).pipeline_class, type(model).without
    diffusers = stock.from_pretrained(folder / "diffusers", **nothing_else)
    assert nearly(stock_pictures(diffusers), expected)
    single = stock.from_single_file(str(folder / "model.safetensors"), config=str(folder / "config"), **nothing_else)
    assert nearly(stock_pictures(single), expected)
    for part in ("unet", *model.text_encoders, "vae"):
        first, second = getattr(single, part).state_dict(), getattr(diffusers, part).state_dict()
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    assert (folder / "lora").exists() == ("lora" in training)
    if "lora" in training:
        base = stock.from_pretrained(tiny_folders[layout], **nothing_else)
        for file in ("pytorch_lora_weights.safetensors", "comfyui.safetensors"):
            adapters = load_file(folder / "lora" / file)
            base.load_lora_weights(folder / "lora", weight_name=file)
            assert nearly(stock_pictures(base), expected), file
            assert len(adapter_names(base)) == len([name for name in adapters if not name.endswith(".alpha")]), file
            base.unload_lora_weights()


@pytest.mark.slow
def test_stock_pipelines_generate_the_same_pictures_with_dora(
    tiny_folders: dict[Layout, Path], tmp_path: Path, layout: Layout
) -> None:
    lora = {"rank": 4, "alpha": 6, "targets": ["attention+ff"], "useDora": True}
    training = {"method": "lora", "lora": lora}
    run, model = train(loaded(tiny_folders[layout]), tmp_path, training, ["diffusers", "single-file"])
    expected = pictures(model)
    export.export(run, run.folder.weights)
    folder, stock, nothing_else = run.folder.model, type(model).pipeline_class, type(model).without
    assert not nearly(pictures(loaded(tiny_folders[layout])), expected)
    assert nearly(stock_pictures(stock.from_pretrained(folder / "diffusers", **nothing_else)), expected)
    base = stock.from_pretrained(tiny_folders[layout], **nothing_else)
    base.load_lora_weights(folder / "lora")
    assert nearly(stock_pictures(base), expected)
    (file,) = (folder / "lora").iterdir()
    adapters = load_file(file)
    assert len([name for name in adapters if name.endswith("magnitude_vector")]) * 3 == len(adapters)
    assert len(adapter_names(base)) == len(adapters)


def test_the_exported_folder_generates_the_very_pictures(trained: Train, layout: Layout) -> None:
    run, model = trained(layout, {"trainTextEncoder": True})
    export.export(run, run.folder.weights)
    assert nearly(pictures(load_exported(run)), pictures(model))
    single = run.config.model_copy(update={"output": run.config.output.model_copy(update={"formats": ["single-file"]})})
    source = exported_model(run.folder, single)
    assert source.source.endswith("model.safetensors")
    assert nearly(pictures(load_model(source, torch.device("cpu"), torch.float32)), pictures(model))


def test_the_embedded_model_is_exported_as_one_file(tmp_path: Path) -> None:
    model = load_model(Model(source="embedded://emoji"), torch.device("cpu"), torch.float32)
    model.export(tmp_path, ["single-file"])
    assert not (tmp_path / "diffusers").exists()
    again = type(model).pipeline_class.from_single_file(
        str(tmp_path / "model.safetensors"), config=str(tmp_path / "config"), **type(model).without
    )
    for part in ("unet", "vae", "text_encoder"):
        tensors = getattr(again, part).state_dict()
        assert all(
            torch.equal(tensor, tensors[name]) for name, tensor in getattr(model.pipeline, part).state_dict().items()
        )


def test_names_are_those_of_the_releases(trained: Train, layout: Layout) -> None:
    run, _ = trained(layout, {})
    export.export(run, run.folder.weights)
    tensors = load_file(run.folder.model / "model.safetensors")
    text = {
        "1.x": "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
        "2.x": "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight",
        "xl": "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
    }[layout]
    blocks = {
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.output_blocks.2.1.conv.weight",
    }
    if layout == "xl":
        blocks = {
            "conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
            "conditioner.embedders.1.model.text_projection",
            "model.diffusion_model.label_emb.0.0.weight",
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
            "model.diffusion_model.output_blocks.2.2.conv.weight",
        }
    assert {
        text,
        *blocks,
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.middle_block.1.proj_in.weight",
        "first_stage_model.decoder.up.3.block.0.conv1.weight",
        "first_stage_model.encoder.mid.attn_1.q.weight",
    } <= set(tensors)
    assert tensors["first_stage_model.encoder.mid.attn_1.q.weight"].dim() == 4


def test_sums_are_those_of_the_files(
    trained: Train,
) -> None:
    run, _ = trained("1.x", TRAININGS["lora"])
    exported = export.export(run, run.folder.weights)
    folder = run.folder.model
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder).returncode == 0
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*exported.files, "SHA256SUMS"}
    assert {"diffusers/model_index.json", "model.safetensors", "lora/pytorch_lora_weights.safetensors"} <= found
    (folder / "model.safetensors").write_bytes(b"spoiled")
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 1


@pytest.mark.parametrize("before", [False, True])
def test_an_interrupted_export_leaves_no_half_model(
    trained: Train,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
) -> None:
    run, _ = trained("1.x", {})
    if before:
        export.export(run, run.folder.weights)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "manifest_of", stop)
    with pytest.raises(KeyboardInterrupt):
        export.export(run, run.folder.weights)
    assert run.folder.model.exists() == (run.folder.model / "SHA256SUMS").exists() == before
    assert sorted(os.listdir(run.folder.root)) == (["model", "weights"] if before else ["weights"])
