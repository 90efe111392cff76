"""Which parts of a model are on a pretended GPU, against the plan. Its tensors have no memory, and no operation takes tensors
of two devices."""

from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dreambooth_api.training import Model
from dreambooth_trainer.models.base import Framing
from dreambooth_trainer.models.conditioning import conditioning_on
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.placement import on_device
from dreambooth_trainer.planning.allocations import Allocations, bytes_of
from dreambooth_trainer.planning.inputs import prompt_of
from dreambooth_trainer.planning.memory import Weights
from dreambooth_trainer.planning.weightless import load_weightless, pretend
from tests.trainer.tiny_training import job_of

GPU = torch.device("cuda", 0)
SIDE = 64


def put_on_gpu(model: LatentDiffusion) -> None:
    """Does what loading a model for a GPU does."""
    model.device = GPU
    autoencoder = on_device(model.autoencoder.module, GPU)
    model.pipeline.register_modules(vae=autoencoder)
    model.autoencoder.module = autoencoder


def on_gpu(model: LatentDiffusion) -> int:
    """Bytes of the weights on the GPU."""
    weights = [weights for part in (*model.parts.values(), model.autoencoder.module) for weights in part.parameters()]
    return bytes_of(one for one in weights if one.device == GPU)


@torch.no_grad()
def test_text_encoders_and_denoiser_are_on_the_gpu_one_after_the_other(family: Path, tmp_path: Path) -> None:
    config = job_of(tmp_path, "placed", model={"source": str(family)}).run().config
    model = load_weightless(Model(source=str(family)), "cuda", torch.float32)
    prompt = prompt_of(model, config)
    with FakeTensorMode():
        pretend(model, torch.float32)
        planned = Weights.of(model, "cuda")
        put_on_gpu(model)
        assert on_gpu(model) == sum(planned.at_rest.values())

        with Allocations() as counted, model.encoding():
            assert on_gpu(model) == sum(planned.encoding.values())
        assert counted.current == 0
        tokens = {name: torch.zeros(ids.shape, dtype=ids.dtype, device=GPU) for name, ids in prompt.items()}
        prompts = conditioning_on(model, tokens)

        latent = model.encode_images(torch.zeros(1, 3, SIDE, SIDE)).mean_BCHW
        framings = model.encode_framings([Framing(SIDE, SIDE)], (SIDE, SIDE))
        given = {name: rows for name, rows in prompts.items() if model.fixed_shapes or name != "mask"}
        with model.denoising():
            assert on_gpu(model) == sum(planned.denoising.values())
            prediction = model.predict(latent, torch.zeros(1, device=GPU), given, framings)
            assert model.autoencoder.decode(prediction).device == GPU
        assert on_gpu(model) == sum(planned.at_rest.values())
