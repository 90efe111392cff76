from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dreambooth_api.training import Training
from dreambooth_trainer.models.base import LatentMoments
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.loss import Losses
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.randomness import StepRandomness, step_randomness
from tests.trainer.tiny_models import Layout, loaded

SHAPE = torch.Size((4, 8, 8))
CPU = torch.device("cpu")


def module(folder: Path, **training: Any) -> DreamBoothModule:
    return DreamBoothModule(loaded(folder), Training.model_validate(training), prior_weight=2.0)


def dataset(model: DreamBoothModule, class_images: int) -> Dataset:
    """Photos, class images of which every other was generated with the empty prompt, and the prompts."""
    generator = torch.Generator().manual_seed(0)
    ids = model.model.tokenize(["a sks dog", "a dog", ""])
    with torch.no_grad():
        return Dataset(
            photos=LatentMoments(torch.randn(3, *SHAPE, generator=generator), torch.full((3, *SHAPE), 0.1)),
            class_latents=torch.randn(class_images, *SHAPE, generator=generator),
            class_prompt_K=torch.tensor([1 + row % 2 for row in range(class_images)], dtype=torch.long),
            ids_QL=ids,
            conditioning=model.model.encode_tokens(ids),
        )


def randomness(class_images: int) -> StepRandomness:
    return step_randomness(0, 0, batch=2, photos=3, class_images=class_images, shape_CHW=SHAPE, device=CPU)


def losses(model: DreamBoothModule, class_images: int = 4) -> Losses:
    result: Losses = model(randomness(class_images), dataset(model, class_images))
    return result


@pytest.fixture
def folder(tiny_folders: dict[Layout, Path], layout: Layout) -> Path:
    return tiny_folders[layout]


def test_the_loss_is_that_of_each_row_with_its_own_prompt(folder: Path) -> None:
    model, random = module(folder), randomness(4)
    data = dataset(model, 4)
    found = model(random, data)
    clean = torch.cat(
        [
            data.photos.mean_BCHW[random.subject_G] + 0.1 * random.posterior_NCHW[:2],
            data.class_latents[random.class_G],
        ]
    )
    prompts = ["a sks dog", "a sks dog", *(["a dog", ""][index % 2] for index in random.class_G.tolist())]
    assert len(set(prompts)) == 3, "the rows show all three prompts"
    t = (random.uniform_N * 1000).long()
    signal = model.model.noising.alphas_cumprod[t].sqrt()[:, None, None, None]  # type: ignore[attr-defined]
    spread = (1 - signal**2).sqrt()
    noise = random.noise_NCHW
    text = model.model.text_encoder(model.model.tokenize(prompts)).last_hidden_state
    prediction = model.denoiser(signal * clean + spread * noise, t, text).sample
    velocity = model.model.noising.config.prediction_type == "v_prediction"  # type: ignore[attr-defined]
    target = signal * noise - spread * clean if velocity else noise
    error = (prediction - target).square().flatten(1).mean(1)
    torch.testing.assert_close(found.subject, error[:2].mean())
    torch.testing.assert_close(found.class_, error[2:].mean())
    torch.testing.assert_close(found.total, error[:2].mean() + 2 * error[2:].mean())


def test_without_class_images_only_the_subject_counts(folder: Path) -> None:
    found = losses(module(folder), class_images=0)
    assert found.class_ == 0
    torch.testing.assert_close(found.total, found.subject)


def gradients(model: DreamBoothModule) -> dict[str, Tensor]:
    losses(model).total.backward()
    return {name: weights.grad for name, weights in model.learning() if weights.grad is not None}


@pytest.mark.parametrize("text_encoder", [False, True])
def test_what_trains_gets_gradients(folder: Path, text_encoder: bool) -> None:
    found = gradients(module(folder, trainTextEncoder=text_encoder))
    parts = {name.split(".")[0] for name in found}
    assert parts == ({"denoiser", "text_encoder"} if text_encoder else {"denoiser"})


def test_checkpointed_gradients_are_the_same(folder: Path) -> None:
    plain = gradients(module(folder, trainTextEncoder=True))
    saving = gradients(module(folder, trainTextEncoder=True, gradientCheckpointing=True))
    assert plain.keys() == saving.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(saving[name], gradient, rtol=1e-3, atol=1e-6)


def test_adapters_start_from_the_base_model_and_alone_train(folder: Path) -> None:
    base, adapted = module(folder), module(folder, method="lora", trainTextEncoder=True, lora={"rank": 2})
    torch.testing.assert_close(losses(adapted).total, losses(base).total)
    names = [name for name, _ in adapted.learning()]
    assert names and all("lora_" in name for name in names)
    assert any(name.startswith("text_encoder.") for name in names)


def test_adapters_are_initialised_alike_by_every_process(folder: Path) -> None:
    first, second = (dict(module(folder, method="lora", seed=7).learning()) for _ in range(2))
    other = dict(module(folder, method="lora", seed=8).learning())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_each_part_has_its_learning_rate(folder: Path) -> None:
    groups = module(folder, learningRate=1e-3, textEncoderLearningRate=1e-5, trainTextEncoder=True).parameter_groups()
    assert [group["lr"] for group in groups] == [1e-3, 1e-5]
    assert all(group["params"] for group in groups)


def test_min_snr_weighs_the_rows(folder: Path) -> None:
    plain, weighted = losses(module(folder)), losses(module(folder, minSnrGamma=0.01))
    assert weighted.subject < plain.subject
