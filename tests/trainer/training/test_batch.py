from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dreambooth_api.training import Training
from dreambooth_trainer.models.base import Framing, LatentMoments
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.training.batch import Noised, add_noise, predicted_by
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.module import DreamBoothModule
from tests.trainer.tiny_models import Layout, loaded

SHAPE = torch.Size((4, 8, 8))
PROMPTS = ["a sks dog", "a dog", ""]


@pytest.fixture
def model(tiny_folders: dict[Layout, Path], layout: Layout) -> StableDiffusion:
    return loaded(tiny_folders[layout])


@pytest.fixture
def rows(model: StableDiffusion) -> Noised:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 5, *SHAPE, generator=generator)
    return add_noise(
        model.objective,
        clean,
        noise,
        torch.tensor([0, 0.2, 0.5, 0.8, 0.999]),
        prompt_N=torch.tensor([0, 1, 2, 1, 0]),
        image_N=torch.arange(3, 8),
    )


FRAMINGS = [Framing(64 + number, 100) for number in range(8)]


def test_rows_are_picked_and_joined(rows: Noised) -> None:
    joined = rows[torch.tensor([1, 3])].followed_by(rows[torch.tensor([0])])
    assert len(joined) == 3
    assert (joined.prompt_N.tolist(), joined.image_N.tolist()) == ([1, 1, 0], [4, 6, 3])
    assert joined.t_N.tolist() == [200, 800, 0]
    assert torch.equal(joined.noisy_NCHW, rows.noisy_NCHW[[1, 3, 0]])
    assert torch.equal(joined.target_NCHW, rows.target_NCHW[[1, 3, 0]])


def test_the_prediction_is_the_models_own_for_each_row_and_its_prompt(model: StableDiffusion, rows: Noised) -> None:
    with torch.no_grad():
        prompts, images = model.encode_prompts(model.tokenize(PROMPTS)), model.encode_framings(FRAMINGS, (64, 64))
        found = predicted_by(model, rows, prompts, images)
        for row, prompt in enumerate([PROMPTS[index] for index in rows.prompt_N.tolist()]):
            alone = model.encode_prompts(model.tokenize([prompt]))
            framing = model.encode_framings([FRAMINGS[3 + row]], (64, 64))
            own = model.predict(rows.noisy_NCHW[row : row + 1], rows.t_N[row : row + 1], alone, framing)
            torch.testing.assert_close(found[row : row + 1], own)


def test_an_unchanged_model_has_no_loss_on_its_own_predictions(model: StableDiffusion, rows: Noised) -> None:
    with torch.no_grad():
        tokens = model.tokenize(PROMPTS)
        prompts, images = model.encode_prompts(tokens), model.encode_framings(FRAMINGS, (64, 64))
        pool = replace(rows, target_NCHW=predicted_by(model, rows, prompts, images))
    photos = LatentMoments(torch.randn(3, *SHAPE), torch.ones(3, *SHAPE))
    dataset = Dataset(photos, rows.noisy_NCHW, rows.prompt_N, tokens, prompts, images, pool)
    module = DreamBoothModule(model, Training(), prior_weight=1.0)
    losses = module(dataset.randomness(seed=0, step=0, batch=4), dataset)
    assert losses.class_ < 1e-10 < losses.subject
