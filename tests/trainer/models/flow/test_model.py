"""Each family against its stock pipeline: conditioning, loss and gradients, pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from torch import Tensor

from dreambooth_api.schedulers import Scheduler
from dreambooth_api.training import Sampler, Training
from dreambooth_trainer.models.base import LatentMoments
from dreambooth_trainer.models.flow.model import FlowTransformer
from dreambooth_trainer.phases.prepare import reach_of
from dreambooth_trainer.training.captured import CapturedStep
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.division import divide
from dreambooth_trainer.training.micro_batches import MicroBatch
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.randomness import StepRandomness, step_randomness
from tests.trainer.models.flow.references import PREDICTIONS, guidance
from tests.trainer.tiny_flow import SIZE, FlowFamily, loaded_flow

CPU = torch.device("cpu")
PRIOR_WEIGHT = 2.0


def generate(model: FlowTransformer, prompts: Sequence[str], seeds: Sequence[int], **settings: object) -> Tensor:
    sampler = Sampler.model_validate({"steps": 2, **settings})
    return model.generate(prompts, seeds, sampler, SIZE).latents_BCHW


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def dataset(model: FlowTransformer, class_images: int) -> Dataset:
    """Photos, class images of which every other was generated with the empty prompt, and the prompts."""
    tokens = model.tokenize(["a zqx dog", "a dog", ""])
    with torch.no_grad():
        return Dataset(
            photos=model.encode_images(pictures(3)),
            class_latents=model.encode_images(pictures(class_images).flip(0)).mean_BCHW,
            class_prompt_K=torch.tensor([1 + row % 2 for row in range(class_images)], dtype=torch.long),
            tokens=tokens,
            prompts=model.encode_prompts(tokens),
            images={},
        )


def randomness(data: Dataset) -> StepRandomness:
    return step_randomness(
        0,
        0,
        batch=2,
        rows=range(2),
        first=0,
        photos=[3],
        class_images=len(data.class_latents),
        shape_CHW=data.photos.mean_BCHW.shape[1:],
        device=CPU,
    )


def test_the_loss_is_that_of_each_row_with_its_own_prompt(folder: Path, family: FlowFamily) -> None:
    """Two photos and two class images: (1 - s) z + s e for the noise level s, and a target of e - z."""
    model = loaded_flow(folder)
    data = dataset(model, 4)
    module, random = DreamBoothModule(model, Training(), PRIOR_WEIGHT), randomness(data)
    found = module(random, data)
    photos: LatentMoments = data.photos
    subjects = photos.mean_BCHW[random.subject_G] + photos.std_BCHW[random.subject_G] * random.posterior_GCHW
    clean = torch.cat([subjects, data.class_latents[random.class_G]])
    prompts = ["a zqx dog", "a zqx dog", *(["a dog", ""][index % 2] for index in random.class_G.tolist())]
    assert len(set(prompts)) == 3, "the rows show all three prompts"
    level = model.objective.timesteps(random.uniform_N) / 1000
    noisy = torch.stack([(1 - s) * z + s * e for s, z, e in zip(level, clean, random.noise_NCHW, strict=True)])
    prediction = PREDICTIONS[family](model.pipeline, noisy, level, prompts)
    error = (prediction - (random.noise_NCHW - clean)).square().flatten(1).mean(1)
    wanted = error[:2].mean() + PRIOR_WEIGHT * error[2:].mean()
    torch.testing.assert_close(found.total, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.subject, error[:2].mean(), rtol=1e-5, atol=1e-6)
    places = torch.rand(clean[:3, :1].shape, generator=torch.Generator().manual_seed(1))
    masked = module(random, replace(data, photo_weight_P1HW=places)).subject
    squares = (prediction - (random.noise_NCHW - clean)).square()
    torch.testing.assert_close(masked, (squares[:2] * places[random.subject_G]).mean(), rtol=1e-5, atol=1e-6)
    weights = [parameter for _, parameter in module.learning()]
    gradients = (torch.autograd.grad(loss, weights, allow_unused=True) for loss in (found.total, wanted))
    for mine, theirs in zip(*gradients, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_latents_have_the_denoisers_scale(model: FlowTransformer) -> None:
    moments = model.encode_images(pictures(2))
    assert moments.mean_BCHW.shape == moments.std_BCHW.shape
    decoded = torch.stack([torch.from_numpy(np.array(image)) for image in model.decode(moments.mean_BCHW)])
    frames = pictures(2).unsqueeze(2) if isinstance(model.autoencoder.module, AutoencoderKLQwenImage) else pictures(2)
    expected = model.autoencoder.module.decode(model.autoencoder.module.encode(frames).latent_dist.mean).sample.view(
        2, 3, SIZE, SIZE
    )
    images = model.pipeline.image_processor.postprocess(expected.detach(), output_type="np")
    assert np.abs(decoded.numpy() / 255 - images).max() < 2 / 255


def test_the_prediction_depends_on_all_it_is_given(model: FlowTransformer) -> None:
    prompts = model.encode_prompts(model.tokenize(["a dog", "a cat"]))
    z = model.encode_images(pictures(1)).mean_BCHW.repeat(2, 1, 1, 1)
    with torch.no_grad():
        dog, cat = model.predict(z, torch.tensor([100.0, 100.0]), prompts, {})
        later = model.predict(z, torch.tensor([900.0, 900.0]), prompts, {})[0]
    assert dog.shape == z.shape[1:]
    assert not torch.allclose(dog, cat, atol=1e-4)
    assert not torch.allclose(dog, later, atol=1e-4)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_generation_is_the_stock_pipelines(folder: Path, model: FlowTransformer, guidance_scale: float) -> None:
    stock = type(model).pipeline_class.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        prompt="a dog",
        height=SIZE,
        width=SIZE,
        num_inference_steps=3,
        **guidance(model, guidance_scale, [""]),
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    sampler = Sampler(scheduler="ddim", steps=3, guidance_scale=guidance_scale)
    (found,) = model.generate(["a dog"], [5], sampler, SIZE).images
    assert np.abs(np.asarray(found, dtype=int) - np.asarray(expected, dtype=int)).max() <= 1


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_a_picture_depends_on_its_own_prompt_and_seed(
    model: FlowTransformer, scheduler: Scheduler, guidance_scale: float
) -> None:
    settings = {"scheduler": scheduler, "guidance_scale": guidance_scale}
    one = generate(model, ["a dog", "a cat", "a dog"], [7, 8, 9], **settings)
    other = generate(model, ["a bird", "a dog", "a dog"], [1, 9, 7], **settings)
    assert one.isfinite().all()
    assert torch.allclose(one[0], other[2], atol=1e-4)
    assert torch.allclose(one[2], other[1], atol=1e-4)
    assert not torch.allclose(one[0], one[2], atol=1e-2)
    assert not torch.allclose(generate(model, ["a cat"] * 3, [7, 8, 9], **settings)[0], one[0], atol=1e-4)


def test_ancestral_sampling_adds_noise(model: FlowTransformer) -> None:
    found = {name: generate(model, ["a dog"], [0], scheduler=name) for name in get_args(Scheduler)}
    assert torch.equal(found["ddpm"], found["euler-ancestral"])
    assert torch.equal(found["ddim"], found["dpm-solver++"])
    assert not torch.allclose(found["ddpm"], found["ddim"], atol=1e-2)


def test_latents_decode_to_the_pictures(model: FlowTransformer) -> None:
    generated = model.generate(["a dog"] * 3, range(3), Sampler(steps=2), (SIZE, 2 * SIZE))
    assert [image.size for image in generated.images] == [(SIZE, 2 * SIZE)] * 3
    assert [image.tobytes() for image in model.decode(generated.latents_BCHW)] == [
        image.tobytes() for image in generated.images
    ]


def test_half_precision_generates_nearly_the_same(folder: Path, model: FlowTransformer) -> None:
    half = loaded_flow(folder, torch.bfloat16)
    # One step: the denoiser itself rounds noise levels to the format of its weights, and random weights depend on them
    # too much. The first one, 1, is exact.
    one, other = (generate(each, ["a dog"], [0], scheduler="ddim", steps=1) for each in (model, half))
    assert other.dtype == torch.float32
    assert 0 < (one - other).abs().mean() < 0.05 * one.abs().mean()
    frozen = [half.text_encoders[part] for part in type(half).rounded_parts]
    assert {module.dtype for module in frozen} <= {torch.bfloat16}


@pytest.mark.parametrize("text", ["", "a dog", "a dog on the beach " * 200])
def test_what_is_read_of_a_prompt_says_all_that_the_text_encoder_gets(model: FlowTransformer, text: str) -> None:
    read = text[: model.read_length(text)]
    assert (read == text) == (len(text) < 100)
    assert model.words_to_ids(text)[: len(model.words_to_ids(read))] == model.words_to_ids(read)


def test_identifiers_are_words_of_the_tokenizer(model: FlowTransformer) -> None:
    vocabulary = model.vocabulary()
    assert {"dog", "zqx"} <= vocabulary.keys()
    assert vocabulary["dog"] in model.words_to_ids("a dog")
    assert reach_of("zqx", model, "a {identifier} dog") > 0


def trained_on(model: FlowTransformer, **training: Any) -> DreamBoothModule:
    return DreamBoothModule(model, Training.model_validate(training), PRIOR_WEIGHT)


def test_checkpointed_gradients_are_the_same(folder: Path) -> None:
    found: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model = loaded_flow(folder)
        module, data = trained_on(model, gradientCheckpointing=checkpointing), dataset(model, 4)
        module(randomness(data), data).total.backward()
        found.append({name: weights.grad for name, weights in module.learning() if weights.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_only_the_denoiser_trains(folder: Path) -> None:
    for method in ("full", "lora"):
        model = loaded_flow(folder)
        module, data = trained_on(model, method=method, learningRate=1e-3), dataset(model, 4)
        before = {name: tensor.clone() for name, tensor in model.pipeline.text_encoder.state_dict().items()}
        # Weight decay would also move what has no gradient.
        optimizer = torch.optim.AdamW(module.parameter_groups(), weight_decay=0)
        learning = {name: weights.detach().clone() for name, weights in module.learning()}
        # A factor of an adapter has no gradient as long as the other one is zero.
        for _ in range(2):
            optimizer.zero_grad()
            module(randomness(data), data).total.backward()
            optimizer.step()
        moved = {name for name, weights in module.learning() if not torch.equal(weights, learning[name])}
        assert {name.partition(".")[0] for name in learning} == {"denoiser"}
        assert moved == learning.keys()
        after = model.pipeline.text_encoder.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("size", [(SIZE, 2 * SIZE), (2 * SIZE, SIZE)])
def test_pictures_may_be_no_squares(folder: Path, family: FlowFamily, size: tuple[int, int]) -> None:
    model, (width, height) = loaded_flow(folder), size
    generated = model.generate(["a dog"], [0], Sampler(steps=2), size)
    assert generated.images[0].size == size
    latents = model.encode_images(torch.zeros(1, 3, height, width)).mean_BCHW
    assert latents.shape == generated.latents_BCHW.shape
    prompts = model.encode_prompts(model.tokenize(["a dog"]))
    with torch.no_grad():
        prediction = model.predict(latents, model.objective.timesteps(torch.tensor([0.5])), prompts, {})
    assert prediction.shape == latents.shape


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_step_rounds_no_weights_that_the_family_keeps_exact(
    folder: Path, family: FlowFamily, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded_flow(folder)
    module, data = trained_on(model, method=method), dataset(model, 4)
    module.round_frozen_weights(torch.bfloat16)
    formats: dict[str, torch.dtype] = {}
    forward = model.denoiser.forward

    def noted(*arguments: Any, **settings: Any) -> Any:
        formats.update((f"denoiser.{name}", weights.dtype) for name, weights in model.denoiser.named_parameters())
        return forward(*arguments, **settings)

    monkeypatch.setattr(model.denoiser, "forward", noted)
    optimizer = torch.optim.AdamW(module.parameter_groups())
    step = CapturedStep(module, optimizer, divide(module.training_settings, rank=0, size=1), torch.bfloat16)
    step([MicroBatch(randomness(data), data)])
    exact = {name for name, dtype in formats.items() if dtype == torch.float32}
    assert exact == module.exact_weights(torch.bfloat16) and bool(exact) == (family == "krea2")
