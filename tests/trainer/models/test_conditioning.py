"""Passes of the text encoders over many prompts."""

import pytest
import torch

from dreambooth_trainer.models import conditioning
from dreambooth_trainer.models.conditioning import conditioning_on, passes
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from tests.trainer.tiny_models import Layout


@pytest.mark.parametrize(
    ("tokens", "prompts"),
    [({"text_encoder": 77}, 64), ({"text_encoder": 77, "text_encoder_2": 512}, 9), ({"ids": 9000, "mask": 9000}, 1)],
    ids=str,
)
def test_a_pass_has_as_many_prompts_as_its_tokens_allow(tokens: dict[str, int], prompts: int) -> None:
    rows = {name: torch.arange(130).repeat(length, 1).T for name, length in tokens.items()} | {"flag": torch.ones(130)}
    parts = list(passes(rows))
    assert {len(part["flag"]) for part in parts[:-1]} == {prompts}
    assert all(torch.equal(torch.cat([part[name] for part in parts]), rows[name]) for name in rows)


def test_passes_give_what_one_pass_gives(
    layout: Layout, tiny_models: dict[Layout, StableDiffusion], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_models[layout]
    tokens = model.tokenize(["a dog", "", "a photo of a cat", "a zqx dog at sea", "night"])
    with torch.no_grad():
        expected = model.encode_prompts(tokens)
    monkeypatch.setattr(conditioning, "TOKENS_AT_ONCE", 2 * tokens["text_encoder"].shape[1])
    assert [len(part["text_encoder"]) for part in passes(tokens)] == [2, 2, 1]
    for name, rows in conditioning_on(model, tokens).items():
        torch.testing.assert_close(rows, expected[name])
