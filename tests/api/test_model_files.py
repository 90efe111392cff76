import json
from pathlib import Path
from typing import Any

import pytest

from dreambooth_api.model_families import FAMILIES
from dreambooth_api.model_files import FIRST_LAYER, why_no_base_model, why_no_encoder

KIND = "StableDiffusionPipeline"


def folder(root: Path, kind: str = KIND, channels: int = 4) -> Path:
    for name in FAMILIES[KIND].folders:
        (root / name).mkdir(parents=True)
    (root / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    (root / "unet" / "config.json").write_text(json.dumps({"in_channels": channels}))
    return root


def single_file(path: Path, header: Any) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return path


def test_a_model_that_can_be_personalised(tmp_path: Path) -> None:
    assert why_no_base_model(folder(tmp_path / "folder")) is None
    layer = {"shape": [320, 4, 3, 3]}
    assert why_no_base_model(single_file(tmp_path / "a.safetensors", {FIRST_LAYER: layer})) is None


@pytest.mark.parametrize(
    ("channels", "words"), [(9, "inpainting"), (8, "also takes a picture"), (5, "also takes a picture")]
)
def test_a_denoiser_that_takes_more_than_latents(tmp_path: Path, channels: int, words: str) -> None:
    layer = {"shape": [320, channels, 3, 3]}
    for path in (
        folder(tmp_path / "folder", channels=channels),
        single_file(tmp_path / "a.safetensors", {FIRST_LAYER: layer}),
    ):
        reason = why_no_base_model(path) or ""
        assert f"{channels} input channels" in reason and words in reason


def test_another_pipeline_or_a_missing_part(tmp_path: Path) -> None:
    assert "is a PixArtAlphaPipeline" in (why_no_base_model(folder(tmp_path / "flux", "PixArtAlphaPipeline")) or "")
    (folder(tmp_path / "part") / "vae").rmdir()
    assert why_no_base_model(tmp_path / "part") == "lacks vae"


@pytest.mark.parametrize("content", [b"", b"PK", b"\xff" * 20, b"\x04" + bytes(7) + b"null"])
def test_a_file_of_another_format(tmp_path: Path, content: bytes) -> None:
    for name, words in {"a.safetensors": "header", "a.ckpt": "can run code"}.items():
        (tmp_path / name).write_bytes(content)
        assert words in (why_no_base_model(tmp_path / name) or "")


@pytest.mark.parametrize(
    ("config", "words"), [({"model_type": "clip"}, None), ({"model_type": "bert"}, "'bert'"), ([], None)]
)
def test_an_encoder(tmp_path: Path, config: Any, words: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    reason = why_no_encoder(tmp_path)
    assert reason is None if words is None else words in (reason or "")


@pytest.mark.parametrize(
    ("kind", "base"), [("Flux2KleinPipeline", "FLUX.2-klein-base-4B"), ("Krea2Pipeline", "Krea-2-Raw")]
)
def test_a_distilled_model(tmp_path: Path, kind: str, base: str) -> None:
    for name in FAMILIES[kind].folders:
        (tmp_path / name).mkdir()
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": kind, "is_distilled": True}))
    assert base in (why_no_base_model(tmp_path) or "")
    index.write_text(json.dumps({"_class_name": kind, "is_distilled": False}))
    assert why_no_base_model(tmp_path) is None


def test_a_distilled_model_is_known_by_its_schedule(tmp_path: Path) -> None:
    """Z-Image-Turbo has the same parts as Z-Image."""
    kind = "ZImagePipeline"
    for name in FAMILIES[kind].folders:
        (tmp_path / name).mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    schedule = tmp_path / "scheduler" / "scheduler_config.json"
    schedule.write_text(json.dumps({"shift": 3.0}))
    reason = why_no_base_model(tmp_path) or ""
    assert "is distilled to few steps" in reason and reason.endswith("Z-Image")
    schedule.write_text(json.dumps({"shift": 6.0}))
    assert why_no_base_model(tmp_path) is None


def test_a_distilled_model_is_known_by_the_missing_guidance_embedding(tmp_path: Path) -> None:
    """FLUX.1 [schnell] has the same parts as FLUX.1 [dev]."""
    kind = "FluxPipeline"
    for name in FAMILIES[kind].folders:
        (tmp_path / name).mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    transformer = tmp_path / "transformer" / "config.json"
    transformer.write_text(json.dumps({"guidance_embeds": False}))
    reason = why_no_base_model(tmp_path) or ""
    assert "is distilled to few steps" in reason and reason.endswith("FLUX.1-dev")
    transformer.write_text(json.dumps({"guidance_embeds": True}))
    assert why_no_base_model(tmp_path) is None
