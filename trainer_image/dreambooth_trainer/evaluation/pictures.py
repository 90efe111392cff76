"""The sampler and the result that the phases share that generate pictures for people."""

from dreambooth_api.progress import JsonModel
from dreambooth_api.training import Sampler, Samples

BATCH = 16
"""Pictures that are generated at once."""


class Comparison(JsonModel):
    """Pictures of one prompt with the same seeds, before and after training."""

    prompt: str
    """The prompt, filled in."""
    before: list[str]
    """Pictures of the base model: paths relative to the folder of the run."""
    after: list[str]
    """Pictures of the personalised model."""


def sampler_of(samples: Samples) -> Sampler:
    """The sampler of pictures for people."""
    return Sampler(scheduler=samples.scheduler, steps=samples.steps, guidance_scale=samples.guidance_scale)
