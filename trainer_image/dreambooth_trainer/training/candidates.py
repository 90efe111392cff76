"""Trained weights on disk after some steps of a training, of which one becomes the model. Written by `phases/train.py`,
read by `phases/choose.py` and `phases/export.py`."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from dreambooth_api.training import Training
from dreambooth_trainer.process.storage import atomic_folder

QUARTERS = 2, 3, 4
"""The steps whose weights are compared, in quarters of the training. In its first half the subject is still being learned."""

FILE = "weights.safetensors"


def candidate_steps(training: Training) -> list[int]:
    """The steps after which weights are stored: those to choose from, or only the last one."""
    if training.stopping == "last":
        return [training.steps]
    return sorted({max(1, training.steps * part // 4) for part in QUARTERS})


def write_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes gathered weights to a folder, atomically."""
    with atomic_folder(folder) as staging:
        save_file(dict(weights), staging / FILE)


class Candidates:
    """The stored weights of a run, one folder for each step."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, step: int) -> Path:
        """The folder of the weights after a step."""
        return self.root / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """The steps whose weights are on the disk."""
        return sorted(int(path.parent.name.removeprefix("step-")) for path in self.root.glob(f"step-*/{FILE}"))

    def keep_until(self, step: int) -> None:
        """Removes the weights of later steps, which the training repeats."""
        for later in self.steps():
            if later > step:
                shutil.rmtree(self.of(later))

    def keep_only(self, step: int) -> None:
        """Removes the weights of all other steps, incomplete ones too."""
        for path in self.root.iterdir():
            if path != self.of(step):
                shutil.rmtree(path)
