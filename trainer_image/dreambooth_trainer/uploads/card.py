"""The model card of a repository of the hub: what the model is, and how pictures are generated with it."""

import yaml

from dreambooth_trainer.result import RunResult

LICENSES = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
}
"""Licences of base models, by the names on the hub. That of another one must be looked up."""


def model_card(result: RunResult, *, samples: bool) -> str:
    """The model card in Markdown, with the metadata that the hub reads.

    Args:
        result: the result of the run.
        samples: whether sample pictures are uploaded too.
    """
    config, source = result.config, result.model.source
    lora = config.training.method == "lora"
    on_hub = source.startswith("hf://")
    base = source.removeprefix("hf://")
    metadata = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "diffusers", "dreambooth", *(["lora"] if lora else [])],
        "instance_prompt": result.prompt,
        **({"base_model": base} if on_hub else {}),
        **({"license": LICENSES[base]} if base in LICENSES else {}),
        **({"widget": [{"text": result.prompt, "output": {"url": result.sheet}}]} if samples and result.sheet else {}),
    }
    code = ["from diffusers import DiffusionPipeline", "", 'pipeline = DiffusionPipeline.from_pretrained("OWNER/NAME")']
    code.append(f"picture = pipeline({result.prompt!r}).images[0]")
    known = "The model has the licence of its base model." if base not in LICENSES else ""
    lines = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n",
        f"# {result.identifier} {result.class_}\n",
        f"A [DreamBooth](https://arxiv.org/abs/2208.12242) model of `{result.prompt}`, trained from `{source}`"
        f"{f' at `{result.model.commit}`' if result.model.commit else ''} for {result.training.steps} steps. {known}\n",
        "```python\n" + "\n".join(code) + "\n```\n",
        *(["The adapters alone are in `lora/`, for `load_lora_weights`.\n"] if lora else []),
        *([f"![Pictures before and after the training]({result.sheet})\n"] if samples and result.sheet else []),
    ]
    return "\n".join(lines)
