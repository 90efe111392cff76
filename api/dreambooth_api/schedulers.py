"""The schedulers by which pictures are generated. The command line offers them; this file imports no schema, so that it starts
quickly."""

from typing import Literal

Scheduler = Literal["ddpm", "euler-ancestral", "ddim", "dpm-solver++"]
