"""Command line of the recipe: `python -m emoji_recipe prepare`, then `train` and `evaluator` in either order."""

import logging
import math
from pathlib import Path
from typing import Annotated

import torch
import typer

from emoji_recipe import captions, diffusion, evaluator, tokenizer, vae
from emoji_recipe.compose import Composer
from emoji_recipe.drawings import Drawings
from emoji_recipe.training import Run

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Data = Annotated[Path, typer.Argument(help="Folder that `prepare` wrote.")]
Out = Annotated[Path, typer.Argument(help="Folder that receives the model.")]
Batch = Annotated[int, typer.Option(min=2, help="Pictures per step.")]
Steps = Annotated[float, typer.Option(help="Most steps of each model. The first of the two limits ends a training.")]
Captions = Annotated[int, typer.Option(min=1, help="Random captions made before training starts.")]
Compile = Annotated[bool, typer.Option(help="Compile the losses. Saves time from some hundred steps on a GPU.")]
SEED = 0


@app.command()
def prepare(
    node_modules: Annotated[Path, typer.Argument(help="Folder into which npm installed the icon sets.")], data: Data
) -> None:
    """Render the drawings and train the tokenizer."""
    # Imported only here, so that the machine with the GPU needs no SVG renderer.
    from emoji_recipe import icons

    emoji = icons.read_emojibase(node_modules)
    drawings = icons.read_icon_sets(node_modules, emoji)
    drawings.save(data)
    tokenizer.train(emoji, drawings.about).save_pretrained(data / "tokenizer")
    logging.info("%d drawings in %s", len(drawings.about), data)


@app.command()
def train(
    data: Data,
    out: Out,
    vae_seconds: Annotated[float, typer.Option(help="Longest training of the autoencoder.")] = 150,
    diffusion_seconds: Annotated[float, typer.Option(help="Longest training of UNet and text encoder.")] = 900,
    steps: Steps = math.inf,
    batch: Batch = 512,
    pool_size: Captions = 600_000,
    compile: Compile = False,
) -> None:
    """Train autoencoder, UNet and text encoder; write OUT/pipeline."""
    pool, composer = _source(data, pool_size)
    autoencoder, _ = vae.train(pool, composer, Run(min(batch, vae.BATCH), vae_seconds, steps, compile))
    words = tokenizer.load(data)
    run = Run(batch, diffusion_seconds, steps, compile)
    unet, text_encoder, _ = diffusion.train(pool, composer, autoencoder, len(words), run)
    diffusion.save(out / "pipeline", autoencoder, unet, text_encoder, words)


@app.command("evaluator")
def train_evaluator(
    data: Data,
    out: Out,
    seconds: Annotated[float, typer.Option(help="Longest training.")] = 105,
    steps: Steps = math.inf,
    batch: Batch = 1024,
    pool_size: Captions = 600_000,
    compile: Compile = False,
) -> None:
    """Train the model that measures pictures; write OUT/evaluator."""
    pool, composer = _source(data, pool_size)
    model, _ = evaluator.train(pool, composer, len(tokenizer.load(data)), Run(batch, seconds, steps, compile))
    model.half().save_pretrained(out / "evaluator")


def _source(data: Path, pool_size: int) -> tuple[captions.Pool, Composer]:
    """The sources of captions and pictures for a training, on the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("high")
    drawings = Drawings.load(data)
    composer = Composer(drawings, device, SEED)
    catalogue = captions.Catalogue(drawings.about, composer.saturation_N.tolist())
    return captions.Pool.invent(catalogue, tokenizer.load(data), pool_size, device, SEED), composer


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    app()
