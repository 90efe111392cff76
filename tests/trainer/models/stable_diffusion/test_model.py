from collections.abc import Sequence
from copy import copy
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from dreambooth_api.schedulers import Scheduler
from dreambooth_api.training import Sampler
from dreambooth_trainer.models.base import Framing, GeneratedPictures
from dreambooth_trainer.models.stable_diffusion.model import SCHEDULERS, StableDiffusion
from tests.trainer.tiny_models import SCHEDULE, Layout

Models = dict[Layout, StableDiffusion]


def alphas_cumprod() -> Tensor:
    """a_t of the `scaled_linear` schedule: betas are linear in their square root."""
    betas = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000) ** 2
    return torch.cumprod(1 - betas, dim=0)


def generate(model: StableDiffusion, prompts: Sequence[str], seeds: Sequence[int], **settings: object) -> Tensor:
    sampler = Sampler.model_validate({"steps": 3, **settings})
    return model.generate(prompts, seeds, sampler, 64).latents_BCHW


def rows(count: int) -> Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_tokens_are_padded_to_the_encoders_length(tiny_models: Models) -> None:
    model = tiny_models["1.x"]
    tokens = model.tokenize(["a dog", "a dog on the beach " * 20])
    ids_BL = tokens["text_encoder"]
    assert ids_BL.shape == (2, 24)
    assert ids_BL[0, 1:3].tolist() == model.words_to_ids("a dog")
    assert model.vocabulary()["dog"] == model.words_to_ids("dog")[0]
    assert model.encode_prompts(tokens)["embeddings"].shape == (2, 24, 32)


@pytest.mark.parametrize("text", ["", "a dog", "a  Café, ünïcode 🐶 dog's ", "a dog on the beach " * 20, "🐶" * 60])
def test_the_reported_part_of_a_prompt_is_what_the_encoder_gets(tiny_models: Models, text: str) -> None:
    model = tiny_models["1.x"]
    read = text[: model.read_length(text)]
    assert torch.equal(model.tokenize([read])["text_encoder"], model.tokenize([text])["text_encoder"])
    assert (len(model.words_to_ids(text)) <= 22) == (read == text)


def test_prompts_are_encoded_as_the_stock_pipeline_does(tiny_models: Models, layout: Layout) -> None:
    model = tiny_models[layout]
    encoded = model.pipeline.encode_prompt(
        ["a dog", "a cat"], device=model.device, num_images_per_prompt=1, do_classifier_free_guidance=True
    )
    expected = [tensor for tensor in encoded if tensor is not None]
    ours = model.encode_prompts(model.tokenize(["a dog", "a cat", "", ""]))
    assert len(expected) == 2 * len(ours)
    for index, tensor in enumerate(ours.values()):
        torch.testing.assert_close(tensor[:2], expected[2 * index])
        torch.testing.assert_close(tensor[2:], expected[2 * index + 1])
        assert not torch.allclose(tensor[0], tensor[1])


def test_images_are_encoded_to_the_denoisers_scale(tiny_models: Models) -> None:
    model = tiny_models["1.x"]
    x_BCHW = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moments = model.encode_images(x_BCHW)
    gaussian = model.autoencoder.module.encode(x_BCHW).latent_dist
    assert moments.mean_BCHW.shape == moments.std_BCHW.shape == (2, 4, 8, 8)
    assert torch.allclose(moments.mean_BCHW, gaussian.mean * 0.18215, atol=1e-6)
    assert torch.allclose(moments.std_BCHW, gaussian.logvar.mul(0.5).exp() * 0.18215, atol=1e-6)
    assert not moments.mean_BCHW.requires_grad


@given(st.floats(0, 1, exclude_max=True, width=32))
def test_timesteps_cover_the_schedule(tiny_models: Models, uniform: float) -> None:
    t = tiny_models["1.x"].objective.timesteps(torch.tensor([uniform])).item()
    assert 0 <= t <= 999 and t == int(np.float32(uniform) * np.float32(1000))


def test_every_timestep_is_as_likely(tiny_models: Models) -> None:
    t_B = tiny_models["1.x"].objective.timesteps(torch.arange(10_000, dtype=torch.float64) / 10_000)
    assert t_B.bincount(minlength=1000).tolist() == [10] * 1000


def test_noise_is_added_by_the_schedule(tiny_models: Models, layout: Layout) -> None:
    z, noise, t = rows(3), rows(3).flip(0), torch.tensor([0, 500, 999])
    a = alphas_cumprod()[t].view(-1, 1, 1, 1)
    assert torch.allclose(
        tiny_models[layout].objective.add_noise(z, noise, t), a.sqrt() * z + (1 - a).sqrt() * noise, atol=1e-5
    )


def test_the_target_is_the_noise_or_the_velocity(tiny_models: Models) -> None:
    z, noise, t = rows(3), rows(3).flip(0), torch.tensor([0, 500, 999])
    a = alphas_cumprod()[t].view(-1, 1, 1, 1)
    assert torch.equal(tiny_models["1.x"].objective.target(z, noise, t), noise)
    velocity = a.sqrt() * noise - (1 - a).sqrt() * z
    assert torch.allclose(tiny_models["2.x"].objective.target(z, noise, t), velocity, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_weights_are_min_snr(tiny_models: Models, gamma: float) -> None:
    t = torch.arange(1000)
    a = alphas_cumprod()
    snr = a / (1 - a)
    assert torch.allclose(tiny_models["1.x"].objective.loss_weight(t, gamma), snr.clamp(max=gamma) / snr, rtol=1e-3)
    assert torch.allclose(
        tiny_models["2.x"].objective.loss_weight(t, gamma), snr.clamp(max=gamma) / (snr + 1), rtol=1e-3
    )


def test_the_prediction_depends_on_all_it_is_given(tiny_models: Models, layout: Layout) -> None:
    model = tiny_models[layout]
    prompts = model.encode_prompts(model.tokenize(["a dog", "a cat"]))
    images = model.encode_framings([Framing(64, 64)] * 2, (64, 64))
    z, t = rows(1).repeat(2, 1, 1, 1), torch.tensor([10, 10])
    with torch.no_grad():
        dog, cat = model.predict(z, t, prompts, images)
        later = model.predict(z, t * 50, prompts, images)[0]
    assert dog.shape == (4, 8, 8)
    assert not torch.allclose(dog, cat, atol=1e-4)
    assert not torch.allclose(dog, later, atol=1e-4)


@pytest.mark.parametrize(("scheduler", "guidance_scale"), [*((name, 4.0) for name in SCHEDULERS), ("ddim", 1.0)])
def test_a_picture_depends_on_its_own_prompt_and_seed(
    tiny_models: Models, layout: Layout, scheduler: Scheduler, guidance_scale: float
) -> None:
    model, settings = tiny_models[layout], {"scheduler": scheduler, "guidance_scale": guidance_scale}
    one = generate(model, ["a dog", "a cat", "a dog"], [7, 8, 9], **settings)
    other = generate(model, ["a bird", "a dog", "a dog"], [1, 9, 7], **settings)
    assert one.isfinite().all()
    # In another row of a batch of the same shape, the order of sums may differ; a larger difference would be another
    # picture.
    assert torch.allclose(one[0], other[2], atol=1e-4)
    assert torch.allclose(one[2], other[1], atol=1e-4)
    assert torch.equal(generate(model, ["a dog", "a bird", "a bird"], [7, 1, 2], **settings)[0], one[0])
    assert not torch.allclose(one[0], one[2], atol=1e-2)
    assert not torch.allclose(generate(model, ["a cat"] * 3, [7, 8, 9], **settings)[0], one[0], atol=1e-3)


def test_guidance_and_scheduler_matter(tiny_models: Models) -> None:
    generated = {
        (scheduler, scale): generate(tiny_models["1.x"], ["a dog"], [0], scheduler=scheduler, guidance_scale=scale)
        for scheduler in SCHEDULERS
        for scale in (1.0, 4.0)
    }
    for one, other in combinations(generated, 2):
        # Ancestral sampling is the same process in both, written in other variables.
        same = {one[0], other[0]} == {"ddpm", "euler-ancestral"} and one[1] == other[1]
        assert torch.allclose(generated[one], generated[other], atol=1e-2) == same


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_generation_is_the_stock_pipelines(tiny_models: Models, layout: Layout, guidance_scale: float) -> None:
    model = tiny_models[layout]
    stock = copy(model.pipeline)
    stock.scheduler = SCHEDULERS["ddim"].from_config(model.objective.scheduler.config)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        "a dog", num_inference_steps=3, guidance_scale=guidance_scale, generator=torch.Generator().manual_seed(5)
    ).images[0]
    sampler = Sampler(scheduler="ddim", steps=3, guidance_scale=guidance_scale)
    assert model.generate(["a dog"], [5], sampler, 64).images[0].tobytes() == expected.tobytes()


def test_latents_decode_to_the_pictures(tiny_models: Models, layout: Layout) -> None:
    model = tiny_models[layout]
    generated = model.generate(["a dog"] * 10, range(10), Sampler(steps=2), 64)
    assert [image.size for image in generated.images] == [(64, 64)] * 10
    assert [image.tobytes() for image in model.decode(generated.latents_BCHW)] == [
        image.tobytes() for image in generated.images
    ]
    assert len({image.tobytes() for image in generated.images}) == 10


def test_pictures_may_have_another_size(tiny_models: Models) -> None:
    generated = tiny_models["1.x"].generate(["a dog"], [0], Sampler(steps=1), 128)
    assert generated.latents_BCHW.shape == (1, 4, 16, 16)
    assert generated.images[0].size == (128, 128) and isinstance(generated.images[0], Image.Image)


def test_latents_are_never_clipped(tiny_models: Models, layout: Layout) -> None:
    for scheduler in SCHEDULERS.values():
        assert not scheduler.from_config(tiny_models[layout].objective.scheduler.config).config.get(
            "clip_sample", False
        )


def test_half_precision_generates_nearly_the_same(tiny_models: Models) -> None:
    whole = tiny_models["1.x"]
    half = StableDiffusion(
        whole.pipeline, device=whole.device, precision=torch.bfloat16, digest=whole.digest, commit=None
    )
    one, other = (generate(model, ["a dog"], [0], scheduler="ddim") for model in (whole, half))
    assert other.dtype == torch.float32
    assert 0 < (one - other).abs().mean() < 0.05 * one.abs().mean()
    # Generation uses a copy: the model's own weights keep their precision.
    assert half.denoiser.dtype == torch.float32


def test_pictures_are_generated_in_batches_that_fit_the_memory(
    tiny_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretended device has memory for two pictures of this size, and for any number of another size."""
    model, whole, sizes = copy(tiny_models["1.x"]), StableDiffusion._generate, []
    prompts, seeds, sampler = ["a dog", "a cat"] * 3, range(6), Sampler(steps=1)
    expected = model.generate(prompts, seeds, sampler, 64)
    model._at_once = {}

    def limited(self: StableDiffusion, prompts: Sequence[str], *arguments: Any) -> GeneratedPictures:
        sizes.append(len(prompts))
        if len(prompts) > 2 and arguments[2] == 64:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, prompts, *arguments)

    monkeypatch.setattr(StableDiffusion, "_generate", limited)
    found = model.generate(prompts, seeds, sampler, 64)
    assert torch.allclose(found.latents_BCHW, expected.latents_BCHW, atol=1e-4) and len(found.images) == 6
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    sizes.clear()
    model.generate(prompts[:2], seeds[:2], sampler, 64)
    model.generate(prompts, seeds, sampler, 128)
    assert sizes == [1, 1, 6]


def test_one_picture_that_does_not_fit_is_an_error(tiny_models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(*_: Any) -> GeneratedPictures:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model = copy(tiny_models["1.x"])
    model._at_once = {}
    monkeypatch.setattr(StableDiffusion, "_generate", without_memory)
    with pytest.raises(torch.OutOfMemoryError):
        model.generate(["a dog"] * 3, range(3), Sampler(steps=1), 64)
