"""The evaluator: a small CLIP (Radford et al., 2021) that also recognises a drawing in other pictures.

The figures of DreamBooth compare pictures of a subject. With captions alone, all dogs would get the same embedding, so
the image model also learns to distinguish one drawing from a thousand others, across backgrounds, places and scenes
(instance contrast, as in SimCLR by Chen et al., 2020). The `evaluator` command calls it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

from emoji_recipe.captions import Pool
from emoji_recipe.compose import Composer
from emoji_recipe.diffusion import WIDTH, text_config
from emoji_recipe.training import Rate, Run, fit, mixed_precision
from emoji_recipe.vocabulary import SIDE

RATE = Rate(peak=1e-3, warm_up_steps=300, floor=0.01)
TEMPERATURE = 0.1
MAX_LOGIT_SCALE = 50.0
PADDING_ID = 1


def build(vocabulary: int) -> CLIPModel:
    """An untrained CLIP of 4.7 M parameters for pictures of 64 pixels."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=6,
        num_attention_heads=6,
        image_size=SIDE,
        patch_size=8,
        hidden_act="gelu",
    )
    text = text_config(vocabulary, layers=3)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=128))


def train(pool: Pool, composer: Composer, vocabulary: int, run: Run) -> tuple[CLIPModel, list[float]]:
    """Trains an evaluator; returns it and the losses."""
    device = pool.layouts_N5.device
    pool = pool.captioned(PADDING_ID)
    with device:
        model = build(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05, betas=(0.9, 0.98), fused=True)

    def loss(pictures_B3HW: Tensor, elsewhere_B3HW: Tensor, token_ids_BL: Tensor) -> Tensor:
        with mixed_precision(device):
            both = model.get_image_features(pixel_values=torch.cat([pictures_B3HW, elsewhere_B3HW])).pooler_output
            texts = model.get_text_features(input_ids=token_ids_BL).pooler_output
        here, there = F.normalize(both.float(), dim=1).chunk(2)
        scale = model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        captions = scale * here @ F.normalize(texts.float(), dim=1).T
        instances = here @ there.T / TEMPERATURE
        return (contrast(captions) + contrast(captions.T)) / 2 + contrast(instances)

    loss = run.compiled(loss)

    def loss_of_batch() -> Tensor:
        layouts, token_ids = pool.sample(run.batch)
        return loss(jittered(composer(layouts)), jittered(composer(composer.elsewhere(layouts))), token_ids)

    return model, fit("evaluator", run, optimizer, RATE, loss_of_batch)


def contrast(similarities_BB: Tensor) -> Tensor:
    """Cross entropy of finding each row's partner, on the diagonal (InfoNCE, van den Oord et al., 2018)."""
    partners = torch.arange(len(similarities_BB), device=similarities_BB.device)
    return F.cross_entropy(similarities_BB, partners)


def jittered(pictures_B3HW: Tensor) -> Tensor:
    """Pictures with random changes of contrast, brightness and noise: generated pictures are not as clean as rendered
    ones."""
    contrast_, brightness, noise = torch.rand(3, len(pictures_B3HW), 1, 1, 1, device=pictures_B3HW.device)
    varied = pictures_B3HW * (0.85 + 0.25 * contrast_) + 0.2 * brightness - 0.1
    return varied + 0.04 * noise * torch.randn_like(pictures_B3HW)
