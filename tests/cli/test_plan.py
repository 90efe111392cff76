"""Tests of `dreambooth plan`."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from dreambooth_cli import app
from dreambooth_trainer import embedded

RUNNER = CliRunner()


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short run of the embedded model, at a small size."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "1.png")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rex.yaml")
    return tmp_path / "rex.yaml"


def write(file: Path, source: str = "embedded://emoji", images: str = "photos") -> None:
    spec = {
        "model": {"source": source},
        "subject": {"class": "dog", "images": {"path": images}},
        "prior": {"enabled": False},
        "samples": {"prompts": []},
    }
    metadata = {"name": "rex"}
    manifest = {"apiVersion": "dreambooth.io/v1alpha1", "kind": "DreamBoothJob", "metadata": metadata, "spec": spec}
    file.write_text(yaml.safe_dump(manifest))


def plan(*arguments: str) -> Result:
    return RUNNER.invoke(app, ["plan", "rex.yaml", *arguments])


def test_a_run_that_fits(manifest: Path) -> None:
    result = plan("--gpu-memory", "16Gi")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        *("phase", "weights", "gradients", "optimizer", "average", "dataset", "activations", "peak"),
    ]
    assert [line.split()[0] for line in lines[1:5]] == ["cache", "train", "export", "evaluate"]
    assert lines[5] == "GB (10^9 bytes) on the GPU"
    assert "weights during train (ZeRO stage 0): unet, float32: 0.06" in lines
    assert any(line.endswith("A GPU with 16 GB would do") for line in lines)
    assert lines[-1] == "The run fits: all phases need at most 90% of 17.18 GB"


@pytest.mark.slow
def test_a_run_that_does_not_fit_exits_with_5(manifest: Path) -> None:
    result = plan("--gpu-memory", "250M")
    assert result.exit_code == 5
    assert "The run does not fit 90% of 0.25 GB: train 0." in result.stdout
    assert "It would fit with training.gradientCheckpointing: true, " in result.stdout


def test_json_is_in_bytes(manifest: Path) -> None:
    result = plan("--gpu-memory", "10M", "--gpus", "2", "-o", "json")
    assert result.exit_code == 5
    answer = json.loads(result.stdout)
    assert (answer["memory"], answer["devices"], answer["fits"], answer["smallestGpu"]) == (10**7, 2, False, 16 * 10**9)
    train = next(phase for phase in answer["phases"] if phase["phase"] == "train")
    assert train["peak"] == sum(train["weights"].values()) + sum(
        train[name] for name in ("gradients", "optimizer", "average", "dataset", "activations")
    )
    # No setting helps against the memory of the other phases.
    assert answer["proposal"] is None


@pytest.mark.parametrize("quantity", ["24GB", "much", "0", "-1"])
def test_a_wrong_quantity_is_refused(manifest: Path, quantity: str) -> None:
    result = plan(f"--gpu-memory={quantity}")
    assert result.exit_code == 2
    assert result.stderr == (f"--gpu-memory: {quantity!r} is no quantity of memory. Give for example 24Gi or 80G.\n")


def test_a_manifest_with_mistakes_is_refused(manifest: Path) -> None:
    write(manifest, images="nowhere")
    result = plan()
    assert result.exit_code == 2 and "spec.subject.images: " in result.stderr


def test_a_model_on_a_claim_is_out_of_reach(manifest: Path) -> None:
    write(manifest, source="pvc://models/sdxl")
    result = plan()
    assert result.exit_code == 2
    assert "spec.model.source: 'pvc://models/sdxl' is only at hand in the cluster" in result.stderr


def test_a_folder_without_configuration_is_reported(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for part in (embedded.path("emoji") / "pipeline").iterdir():
        if part.is_dir():
            (folder / part.name).mkdir(parents=True)
        else:
            (folder / part.name).write_bytes(part.read_bytes())
    write(manifest, source=str(folder))
    result = plan()
    assert result.exit_code == 4
    assert result.stderr.startswith("model.source: ") and "can't be planned" in result.stderr


def test_missing_libraries_are_named(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("dreambooth_trainer.planning")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = plan()
    assert result.exit_code == 2
    assert "pip install 'dreambooth-operator[trainer]'" in result.stderr


def test_several_subjects_need_room_for_the_photos_and_class_images_of_all(manifest: Path) -> None:
    document = yaml.safe_load(manifest.read_text())
    subject = document["spec"].pop("subject")
    document["spec"]["prior"] = {"images": 8}

    def dataset(*classes: str) -> int:
        subjects = [
            {**subject, "name": f"pet-{number}", "class": class_, "images": {"configMap": {"name": "photos"}}}
            for number, class_ in enumerate(classes)
        ]
        manifest.write_text(yaml.safe_dump({**document, "spec": {**document["spec"], "subjects": subjects}}))
        phases = json.loads(plan("--output", "json").stdout)["phases"]
        return int(next(one["dataset"] for one in phases if one["phase"] == "train"))

    assert dataset("dog", "dog") < dataset("dog", "cat")
