"""The oldest supported libraries that load exports, in a folder of their own; and what they generate from an export.

The older libraries run this file as a program, with the arguments of `ask` in JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "diffusers==0.35.2",
    "transformers==4.57.6",
    "tokenizers==0.22.2",
    "huggingface-hub==0.36.2",
    "peft==0.17.1",
    "accelerate==1.10.1",
)
"""The supported pair and its dependencies. All other libraries, such as torch, are those of this environment."""

Questions = Sequence[tuple[str, Sequence[Path]]]
"""Kinds of exports, and what to load; see `answer`."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dreambooth-operator"
FOLDER = CACHE / f"older-libraries-{'-'.join(PACKAGES[:2])}"


def install() -> None:
    """Installs the libraries into their folder, once.

    Raises:
        OSError: the package index can't be reached.
    """
    if FOLDER.exists():
        return
    staging = FOLDER.with_name(f"{FOLDER.name}.{os.getpid()}")
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--target", str(staging), *PACKAGES]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise OSError(ended.stderr.strip())
    try:
        staging.rename(FOLDER)
    except OSError:
        if not FOLDER.exists():  # otherwise another process was faster
            raise


def ask(questions: Questions, texts: list[str], folder: Path) -> tuple[list[Any], str]:
    """The answers of the older libraries to the questions (see `answer`), and their output."""
    asked = json.dumps([questions, texts, str(folder)], default=str)
    ended = subprocess.run(
        [sys.executable, __file__, asked],
        env={**os.environ, "PYTHONPATH": str(FOLDER), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout
    return [np.load(folder / f"answer-{number}.npy") for number in range(len(questions))], ended.stdout


def answer(kind: str, paths: Sequence[Path], texts: list[str]) -> Any:
    """What the libraries of this process generate from an export.

    Args:
        kind: `tokenizer`, a folder; `folder` of a pipeline; `file` and its configuration; `lora`, a base and its
            adapters.
        paths: what to load.
        texts: what to tokenise, or to generate with the seeds 0, 1, ...

    Returns:
        Token ids, or pixels in 0..1.
    """
    if kind == "tokenizer":
        import transformers

        tokenizer = transformers.CLIPTokenizer.from_pretrained(paths[0])
        return np.array(tokenizer(texts, padding="max_length", truncation=True).input_ids)
    import diffusers
    import torch

    index = json.loads((Path(paths[-1 if kind == "file" else 0]) / "model_index.json").read_text())
    stock = getattr(diffusers, index["_class_name"])
    nothing_else: dict[str, Any] = {"add_watermarker": False}
    if stock is diffusers.StableDiffusionPipeline:
        nothing_else = {"safety_checker": None, "requires_safety_checker": False}
    if kind == "file":
        pipeline = stock.from_single_file(str(paths[0]), config=str(paths[1]), **nothing_else)
    else:
        pipeline = stock.from_pretrained(paths[0], torch_dtype=torch.float32, **nothing_else)
    if kind == "lora":
        wanted = stock.lora_state_dict(paths[1])[0]
        pipeline.load_lora_weights(paths[1])
        taken = adapter_names(pipeline)
        assert len(taken) == len(wanted), f"{len(taken)} of {len(wanted)} adapter tensors were taken"
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(texts))]
    return pipeline(texts, num_inference_steps=3, guidance_scale=3.0, generator=generators, output_type="np").images


def adapter_names(pipeline: Any) -> list[str]:
    """The adapter tensors of a pipeline; a loader may ignore some tensors of a file."""
    from torch import nn

    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    return [name for part in parts for name in part.state_dict() if "lora_" in name]


if __name__ == "__main__":
    questions, texts, folder = json.loads(sys.argv[1])
    for number, (kind, paths) in enumerate(questions):
        np.save(f"{folder}/answer-{number}.npy", answer(kind, paths, texts))
