"""Every stage of the recipe, for a few steps, on a made-up icon set; stock libraries load the result."""

import json
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel, CLIPTokenizer
from typer.testing import CliRunner

from emoji_recipe import captions, diffusion, evaluator, icons, tokenizer, vae
from emoji_recipe.__main__ import app
from emoji_recipe.captions import NONE, Catalogue, Pool
from emoji_recipe.compose import Composer
from emoji_recipe.drawings import Drawings
from emoji_recipe.training import Rate, Run
from emoji_recipe.vocabulary import STYLES

CPU = torch.device("cpu")
STEPS = ["--steps", "1", "--batch", "2", "--pool-size", "16"]


def disc(colour: str, radius: int) -> dict[str, str]:
    return {"body": f'<circle cx="8" cy="8" r="{radius}" fill="{colour}"/>'}


ICONS = {
    "dog": disc("#c33", 5),
    "cat": disc("#3a3", 6),
    "anchor": disc("#33c", 5),
    "dog-again": disc("#c33", 5),
    "flag-anchor": disc("#111", 5),
    "mushroom": disc("#c3c", 6) | {"hidden": True},
    "key": disc("none", 6),
    "no-such-label": disc("#0ff", 6),
}
LABELS = ["dog face", "anchor", "flag anchor", "mushroom", "key", "dog again"]


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """npm packages in Iconify's and Emojibase's layout; each style has its own radius of the same icons."""
    folder = tmp_path_factory.mktemp("node_modules")
    for number, name in enumerate(STYLES):
        package = folder / "@iconify-json" / name
        package.mkdir(parents=True)
        restyled = {
            key: icon | {"body": icon["body"].replace('cx="8"', f'cx="{8 + number / 4}"')}
            for key, icon in ICONS.items()
        }
        (package / "icons.json").write_text(json.dumps({"prefix": name, "icons": restyled, "width": 16, "height": 16}))
        things = [key for key in ICONS if key not in ("dog", "cat")]
        (package / "metadata.json").write_text(json.dumps({"categories": {"Objects": things}}))
    labels = folder / "emojibase-data/en/data.json"
    labels.parent.mkdir(parents=True)
    labels.write_text(json.dumps([{"label": label, "tags": ["ship"]} for label in LABELS]))
    return folder


@pytest.fixture(scope="session")
def data(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `prepare` writes."""
    folder = tmp_path_factory.mktemp("data")
    result = CliRunner().invoke(app, ["prepare", str(node_modules), str(folder)])
    assert result.exit_code == 0, result.output
    return folder


class Source(NamedTuple):
    pool: Pool
    composer: Composer
    vocabulary: int


@pytest.fixture
def source(data: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Pictures to train on, at a third of the peak rates and without their warm-up, in which a few steps would learn
    nothing."""
    for stage in (vae, diffusion, evaluator):
        monkeypatch.setattr(stage, "RATE", Rate(peak=stage.RATE.peak / 3, warm_up_steps=1, constant=0.9))
    torch.manual_seed(3)
    drawings = Drawings.load(data)
    composer = Composer(drawings, CPU, seed=0)
    words = tokenizer.load(data)
    catalogue = Catalogue(drawings.about, composer.saturation_N.tolist())
    return Source(Pool.invent(catalogue, words, 32, CPU, seed=0), composer, len(words))


def learned(losses: list[float]) -> bool:
    """Whether the mean of the later half is well below the start; single losses vary with timesteps and processor."""
    return mean(losses[len(losses) // 2 :]) < 0.93 * mean(losses[:2])


def test_prepare_takes_icons_with_a_class_or_a_label_once(data: Path) -> None:
    drawings = Drawings.load(data)
    assert drawings.rgba_NHWC.shape == (len(STYLES) * 3, 64, 64, 4)
    assert drawings.rgba_NHWC.dtype == np.uint8
    assert {(each.label, each.kind) for each in drawings.about} == {("dog", "dog"), ("cat", "cat"), ("anchor", None)}
    assert {each.style for each in drawings.about} == set(STYLES.values())


def test_render_is_square_whatever_the_view_box() -> None:
    wide = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64" viewBox="0 0 32 8"><path d="M0 0h32v8z"/></svg>'
    )
    assert icons.render(wide).shape == (64, 64, 4)


def test_tokenizer_does_not_split_common_words_and_pads_with_the_end_token(data: Path) -> None:
    words = CLIPTokenizer.from_pretrained(data / "tokenizer")
    assert words.tokenize("A dog on a purple background") == [
        f"{word}</w>" for word in ("a", "dog", "on", "a", "purple", "background")
    ]
    ids = words("a dog", padding="max_length")["input_ids"]
    assert len(ids) == tokenizer.LENGTH
    assert ids[0] == 0 and set(ids[3:]) == {1} == {evaluator.PADDING_ID}


def test_captioned_pool_drops_just_the_empty_captions(source: Source) -> None:
    empty = [row[1] == 1 for row in source.pool.token_ids_NL.tolist()]
    assert 0 < sum(empty) < len(empty)
    assert len(source.pool.captioned(evaluator.PADDING_ID).layouts_N5) == len(empty) - sum(empty)


def test_command_line_writes_models_that_stock_libraries_load(data: Path, tmp_path: Path) -> None:
    for command in ("train", "evaluator"):
        result = CliRunner().invoke(app, [command, str(data), str(tmp_path), *STEPS])
        assert result.exit_code == 0, result.output
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline", safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pictures = pipeline("a dog", num_inference_steps=2, output_type="np").images
    assert pictures.shape == (1, 64, 64, 3)
    assert np.isfinite(pictures).all()
    model = CLIPModel.from_pretrained(tmp_path / "evaluator", dtype=torch.float32)
    assert model.get_image_features(pixel_values=torch.zeros(1, 3, 64, 64)).pooler_output.shape == (1, 128)


@pytest.mark.slow
def test_vae_learns_and_its_latents_have_unit_variance(source: Source) -> None:
    model, losses = vae.train(source.pool, source.composer, Run(batch=4, steps=18))
    assert learned(losses)
    pictures = source.composer(source.pool.layouts_N5.long())
    with torch.no_grad():
        latents = model.encode(pictures).latent_dist.sample()
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=0.25, rtol=0)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=0.25, rtol=0)


def test_folding_the_normalisation_changes_no_restored_picture(source: Source) -> None:
    model = vae.build().eval()
    pictures = source.composer(source.pool.layouts_N5[:4].long())
    with torch.no_grad():
        before = model.decode(model.encode(pictures).latent_dist.mean).sample
        vae.fold_normalisation(model, pictures)
        after = model.decode(model.encode(pictures).latent_dist.mean).sample
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_diffusion_learns(source: Source) -> None:
    _, _, losses = diffusion.train(source.pool, source.composer, vae.build(), source.vocabulary, Run(batch=4, steps=12))
    assert learned(losses)


@pytest.mark.slow
def test_evaluator_learns(source: Source) -> None:
    _, losses = evaluator.train(source.pool, source.composer, source.vocabulary, Run(batch=6, steps=18))
    assert learned(losses)


def test_contrast_is_least_where_partners_are_nearest() -> None:
    assert evaluator.contrast(10 * torch.eye(4)) < 0.01 < evaluator.contrast(10 * torch.eye(4).roll(1, 0))


def test_catalogue_needs_pictures_with_and_without_a_class(data: Path) -> None:
    about = [each for each in Drawings.load(data).about if each.kind]
    with pytest.raises(ValueError, match="drawings of none"):
        captions.Catalogue(about, [1.0] * len(about))


def test_elsewhere_keeps_picture_and_hue_and_drops_the_companion(source: Source) -> None:
    layouts = source.pool.layouts_N5.long()
    moved = source.composer.elsewhere(layouts)
    assert torch.equal(moved[:, [0, 3]], layouts[:, [0, 3]])
    assert (moved[:, 4] == NONE).all()
    assert not torch.equal(moved[:, 1], layouts[:, 1])
