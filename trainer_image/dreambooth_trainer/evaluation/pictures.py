"""What the phases that draw for people share: how they draw, and what they keep."""

from dreambooth_api.progress import JsonModel
from dreambooth_api.training import Sampler, Samples

BATCH = 16
"""Pictures drawn at once."""


class Comparison(JsonModel):
    """Pictures of one prompt with the same seeds, before and after training."""

    prompt: str
    """What was drawn."""
    before: list[str]
    """Pictures of the base model: paths relative to the folder of the run."""
    after: list[str]
    """Pictures of the personalised model."""


def sampler_of(samples: Samples) -> Sampler:
    """The sampler of pictures that people look at."""
    return Sampler(scheduler=samples.scheduler, steps=samples.steps, guidance_scale=samples.guidance_scale)
