from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dreambooth_api.training import Training
from dreambooth_trainer.models.base import Framing, LatentMoments
from dreambooth_trainer.training.dataset import CaptionDropout, Dataset
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
    tokens = model.model.tokenize(["a sks dog", "a dog", ""])
    with torch.no_grad():
        return Dataset(
            photos=LatentMoments(torch.randn(3, *SHAPE, generator=generator), torch.full((3, *SHAPE), 0.1)),
            class_latents=torch.randn(class_images, *SHAPE, generator=generator),
            class_prompt_K=torch.tensor([1 + row % 2 for row in range(class_images)], dtype=torch.long),
            tokens=tokens,
            prompts=model.model.encode_prompts(tokens),
            images=model.model.encode_framings(framings(class_images), (64, 64)),
        )


def framings(class_images: int) -> list[Framing]:
    """Of photos that were cut differently, and of class images."""
    return [*(Framing(3000, 4000 + number, 0, 10 * number) for number in range(3)), *[Framing(64, 64)] * class_images]


def randomness(class_images: int) -> StepRandomness:
    return step_randomness(
        0, 0, batch=2, rows=range(2), first=0, photos=[3], class_images=class_images, shape_CHW=SHAPE, device=CPU
    )


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
            data.photos.mean_BCHW[random.subject_G] + 0.1 * random.posterior_GCHW,
            data.class_latents[random.class_G],
        ]
    )
    prompts = ["a sks dog", "a sks dog", *(["a dog", ""][index % 2] for index in random.class_G.tolist())]
    assert len(set(prompts)) == 3, "the rows show all three prompts"
    shown = [framings(4)[index] for index in (*random.subject_G.tolist(), *(3 + random.class_G).tolist())]
    t = (random.uniform_N * 1000).long()
    scheduler = model.model.objective.scheduler  # type: ignore[attr-defined]
    signal = scheduler.alphas_cumprod[t].sqrt()[:, None, None, None]
    spread = (1 - signal**2).sqrt()
    noise = random.noise_NCHW
    prediction = model.denoiser(signal * clean + spread * noise, t, **conditioning(model, prompts, shown)).sample
    target = signal * noise - spread * clean if scheduler.config.prediction_type == "v_prediction" else noise
    error = (prediction - target).square().flatten(1).mean(1)
    weights = [parameter for _, parameter in model.learning()]
    wanted = error[:2].mean() + 2 * error[2:].mean()
    for mine, theirs in zip(*(torch.autograd.grad(loss, weights) for loss in (found.total, wanted)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.subject, error[:2].mean())
    torch.testing.assert_close(found.class_, error[2:].mean())
    torch.testing.assert_close(found.total, wanted)
    places = torch.rand(3, 1, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
    masked = model(random, replace(data, photo_weight_P1HW=places))
    squares = (prediction - target).square()
    torch.testing.assert_close(masked.subject, (squares[:2] * places[random.subject_G]).mean())
    torch.testing.assert_close(masked.class_, error[2:].mean())


def conditioning(model: DreamBoothModule, prompts: list[str], shown: list[Framing]) -> dict[str, Any]:
    """The denoiser's arguments as the stock pipeline makes them."""
    pipeline = model.model.pipeline  # type: ignore[attr-defined]
    encoded = [
        pipeline.encode_prompt(prompt, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=True)
        for prompt in prompts
    ]
    if len(encoded[0]) == 2:
        return {"encoder_hidden_states": torch.cat([positive for positive, _ in encoded])}
    # The pipeline's unconditional input stands for the empty prompt.
    rows = [(one[0], one[2]) if prompt else (one[1], one[3]) for one, prompt in zip(encoded, prompts, strict=True)]
    times = [[one.height, one.width, one.top, one.left, 64, 64] for one in shown]
    return {
        "encoder_hidden_states": torch.cat([embeddings for embeddings, _ in rows]),
        "added_cond_kwargs": {
            "text_embeds": torch.cat([pooled for _, pooled in rows]),
            "time_ids": torch.tensor(times, dtype=torch.float32),
        },
    }


CAPTIONS = ["a sks dog", "a sks dog on a sofa", "a sks dog at sea"]


def with_captions(model: DreamBoothModule, dropout: float = 0) -> Dataset:
    """Of the first photo, a sofa, of the second, none, and of the third, the sea."""
    data, tokens = dataset(model, 4), model.model.tokenize([*CAPTIONS, "a dog", ""])
    with torch.no_grad():
        prompts = model.model.encode_prompts(tokens)
    return replace(
        data,
        tokens=tokens,
        prompts=prompts,
        class_prompt_K=data.class_prompt_K + 2,
        photo_prompt_P=torch.tensor([1, 0, 2]),
        caption_dropout=CaptionDropout(torch.full((3,), dropout), torch.zeros(3, dtype=torch.long)),
    )


def row_of(random: StepRandomness, row: int) -> StepRandomness:
    """The random numbers of one of two photos, and of its class image."""
    of_both = [row, row + 2]
    return StepRandomness(
        random.subject_G[[row]],
        random.class_G[[row]],
        random.uniform_N[of_both],
        random.noise_NCHW[of_both],
        random.posterior_GCHW[[row]],
        random.caption_G[[row]],
    )


@pytest.mark.parametrize("text_encoder", [False, True])
def test_each_photo_has_its_caption(folder: Path, text_encoder: bool) -> None:
    model = module(folder, trainTextEncoder=text_encoder)
    random = replace(randomness(4), subject_G=torch.tensor([2, 0]))
    for number, photo in enumerate(random.subject_G.tolist()):
        alone = row_of(random, number)
        found = model(alone, with_captions(model)).subject
        for row, caption in enumerate(CAPTIONS):
            data = replace(with_captions(model), photo_prompt_P=torch.full((3,), row))
            same = torch.isclose(model(alone, data).subject, found, rtol=1e-6)
            assert same == (row == [1, 0, 2][photo]), caption
    both = model(random, with_captions(model)).subject
    each = [model(row_of(random, row), with_captions(model)).subject for row in range(2)]
    torch.testing.assert_close(both, torch.stack(each).mean())


def test_dropped_captions_are_replaced_by_the_subjects_prompt(folder: Path) -> None:
    model = module(folder)
    data = with_captions(model, dropout=0.3)
    steps = [data.randomness(0, step, 8) for step in range(100)]
    captioned = torch.cat([one.subject_G for one in steps]) != 1
    rows = torch.cat([data.photo_prompts(one) for one in steps])
    share = (rows[captioned] == 0).float().mean()
    assert 0.25 < share < 0.35
    assert (rows[~captioned] == 0).all()
    assert set(rows.tolist()) == {0, 1, 2}


def test_without_class_images_only_the_subject_counts(folder: Path) -> None:
    found = losses(module(folder), class_images=0)
    assert found.class_ == 0
    torch.testing.assert_close(found.total, found.subject)


def gradients(model: DreamBoothModule) -> dict[str, Tensor]:
    losses(model).total.backward()
    return {name: weights.grad for name, weights in model.learning() if weights.grad is not None}


@pytest.mark.parametrize("text_encoder", [False, True])
def test_trained_parameters_get_gradients(folder: Path, text_encoder: bool) -> None:
    found = gradients(module(folder, trainTextEncoder=text_encoder))
    parts = {name.split(".")[0] for name in found}
    assert parts == {"denoiser", *(loaded(folder).text_encoders if text_encoder else ())}


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
    assert {name.partition(".")[0] for name in names} == {"denoiser", *adapted.model.text_encoders}


def adapted_layers(folder: Path, *targets: str) -> set[str]:
    lora = {"rank": 2, "targets": list(targets)} if targets else {"rank": 2}
    names = (name.partition(".lora_")[0] for name, _ in module(folder, method="lora", lora=lora).learning())
    return {name.removeprefix("denoiser.") for name in names}


def test_presets_are_all_layers_of_attention_and_feed_forward_blocks(folder: Path) -> None:
    attention, both = adapted_layers(folder, "attention"), adapted_layers(folder, "attention+ff")
    assert attention == adapted_layers(folder)
    assert both - attention == adapted_layers(folder, "ff.net.0.proj", "ff.net.2")
    assert attention < both == adapted_layers(folder, "attention+ff", "to_q")
    assert adapted_layers(folder, "attention", "proj_in") - attention == adapted_layers(folder, "proj_in")


def test_dora_starts_from_the_base_model(folder: Path) -> None:
    adapted = module(folder, method="lora", lora={"rank": 2, "useDora": True})
    torch.testing.assert_close(losses(adapted).total, losses(module(folder)).total)
    assert any("lora_magnitude_vector" in name for name, _ in adapted.learning())


def test_every_process_initialises_the_adapters_equally(folder: Path) -> None:
    first, second = (dict(module(folder, method="lora", seed=7).learning()) for _ in range(2))
    other = dict(module(folder, method="lora", seed=8).learning())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_each_part_has_its_learning_rate(folder: Path) -> None:
    trained = module(folder, learningRate=1e-3, textEncoderLearningRate=1e-5, trainTextEncoder=True)
    groups = trained.parameter_groups()
    assert [group["lr"] for group in groups] == [1e-3, *[1e-5] * len(trained.text_encoders)]
    assert all(group["params"] for group in groups)


def test_min_snr_weighs_the_rows(folder: Path) -> None:
    plain, weighted = losses(module(folder)), losses(module(folder, minSnrGamma=0.01))
    assert weighted.subject < plain.subject
