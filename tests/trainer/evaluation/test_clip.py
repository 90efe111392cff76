import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from dreambooth_api.failures import ModelUnavailable
from dreambooth_trainer import embedded
from dreambooth_trainer.evaluation.clip import BATCH, ClipScorer

CPU = torch.device("cpu")
PHOTOS = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def encoder() -> ClipScorer:
    return ClipScorer.load("embedded://emoji", CPU)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The embedded CLIP scorer, saved as transformers saves a model with its tokenizer."""
    folder = embedded.path("emoji")
    shutil.copytree(folder / "evaluator", tmp_path / "clip")
    shutil.copytree(folder / "pipeline" / "tokenizer", tmp_path / "clip", dirs_exist_ok=True)
    return tmp_path / "clip"


def photos(name: str) -> list[Image.Image]:
    return [Image.open(path) for path in sorted((PHOTOS / name / "photos").iterdir())]


def test_embeddings_have_unit_length(encoder: ClipScorer) -> None:
    images_ND, texts_ND = encoder.images(photos("dog")), encoder.texts(["a dog", "a dog on the beach"])
    assert images_ND.dtype == texts_ND.dtype == torch.float32
    assert images_ND.shape == (5, texts_ND.shape[1])
    assert torch.cat([images_ND, texts_ND]).norm(dim=1) == pytest.approx(torch.ones(7).numpy(), abs=1e-5)


def test_photos_of_one_subject_are_nearer_than_of_another(encoder: ClipScorer) -> None:
    embedded_photos = {name: encoder.images(photos(name)) for name in ("dog", "backpack", "teapot")}
    for name, own_ND in embedded_photos.items():
        nearest = (own_ND @ own_ND.T).min()
        strangers = torch.cat([rows for other, rows in embedded_photos.items() if other != name])
        assert nearest > (own_ND @ strangers.T).max()


def test_a_picture_matches_the_text_that_describes_it(encoder: ClipScorer) -> None:
    colours = {"red": "#d62728", "blue": "#1f4fd6", "yellow": "#f5d327"}
    images = []
    for colour in colours.values():
        image = Image.new("RGB", (64, 64), colour)
        ImageDraw.Draw(image).ellipse((18, 18, 46, 46), fill="white")
        images.append(image)
    texts_ND = encoder.texts([f"a ball on a {name} background" for name in colours])
    assert (encoder.images(images) @ texts_ND.T).argmax(dim=1).tolist() == [0, 1, 2]


def test_pictures_of_any_size_and_mode(encoder: ClipScorer) -> None:
    image = photos("dog")[0].convert("RGB")
    transparent = image.convert("RGBA")
    enlarged = image.resize((700, 700))
    rows = encoder.images([image, transparent, enlarged, Image.new("L", (30, 90), 128)])
    assert rows[0] == pytest.approx(rows[1].numpy(), abs=1e-5)
    assert rows[0] @ rows[2] > 0.99


def test_an_embedding_does_not_depend_on_its_batch(encoder: ClipScorer) -> None:
    images = photos("dog")
    many_ND = encoder.images(images * (BATCH // len(images) + 1))
    assert len(many_ND) > BATCH
    assert many_ND[-1] == pytest.approx(encoder.images(images[-1:])[0].numpy(), abs=1e-4)
    texts = ["a dog", "a very long text that pads the other one in its batch"]
    assert encoder.texts(texts)[0] == pytest.approx(encoder.texts(texts[:1])[0].numpy(), abs=1e-4)


def test_texts_longer_than_the_model_reads_are_cut_off(encoder: ClipScorer) -> None:
    assert torch.isfinite(encoder.texts(["a dog " * 100])).all()


def test_a_folder_and_the_embedded_model_generate_the_same(encoder: ClipScorer, saved: Path) -> None:
    loaded = ClipScorer.load(str(saved), CPU)
    assert loaded.digest == encoder.digest
    assert torch.equal(loaded.images(photos("dog")), encoder.images(photos("dog")))
    assert torch.equal(loaded.texts(["a dog"]), encoder.texts(["a dog"]))


def test_saved_preprocessing_is_used_and_changes_the_digest(encoder: ClipScorer, saved: Path) -> None:
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 64, "width": 64},
        "image_mean": [0.2, 0.5, 0.8],
        "image_std": [0.3, 0.3, 0.3],
    }
    (saved / "preprocessor_config.json").write_text(json.dumps(settings))
    loaded = ClipScorer.load(str(saved), CPU)
    assert list(loaded.processor.image_mean) == [0.2, 0.5, 0.8]
    assert loaded.digest != encoder.digest


def corrupt(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")


def another_type(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_tokenizer(folder: Path) -> None:
    for path in (embedded.path("emoji") / "pipeline" / "tokenizer").iterdir():
        (folder / path.name).unlink()


def of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("spoil", [corrupt, another_type, without_weights, without_tokenizer, of_another_size])
def test_an_invalid_folder_is_unavailable(saved: Path, spoil) -> None:
    spoil(saved)
    with pytest.raises(
        ModelUnavailable, match=r"evaluation\.encoder: .* can't be loaded: .+ It must hold a CLIP model"
    ):
        ClipScorer.load(str(saved), CPU)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [("embedded://nothing", "there are: emoji"), ("no/such/folder", "Give the path of a folder with a CLIP model")],
)
def test_an_unknown_source_is_refused_with_a_remedy(source: str, remedy: str) -> None:
    with pytest.raises(ModelUnavailable, match=remedy):
        ClipScorer.load(source, CPU)


def test_an_unreachable_hub_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="Check the name and the network"):
        ClipScorer.load("hf://no-such-organisation/no-such-model", CPU)
