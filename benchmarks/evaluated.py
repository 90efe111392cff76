"""One case of the fidelity benchmark: a program trains a model, then the trainer's own evaluation measures it.

Called by `fidelity.py` in worker processes.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.cases import Case, Plan, Program
from benchmarks.programs import Subject, script_command, trainer_command
from benchmarks.results import FigureValues, Results
from benchmarks.timed import run_timed
from dreambooth_api.training import Model
from dreambooth_trainer.evaluation.figures import Embeddings, compute, follow
from dreambooth_trainer.models import load
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import evaluate, prepare
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import Run, RunFolder


def run_case(case: Case, plan: Plan, results: Results, script: Path | None, cache: Path) -> None:
    """Trains and measures. Keeps only the result.

    Args:
        case: what to run.
        plan: the common settings of all cases.
        results: stores the result.
        script: diffusers' script; only needed for its cases.
        cache: folder of the class-image cache and of the base model's pictures.

    Raises:
        ProgramFailed: the program that trains ended with an error.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Run(plan.evaluation_config(case), RunFolder(folder / "evaluated"), cache, Distributed(), Progress())
        # Both programs learn the same identifier: the one of the example's manifest.
        (identifier,) = run.identifiers = prepare.prepare(run).identifiers
        command, exported = _training(case, plan, identifier, script, cache, folder / "trained")
        finished = run_timed(command, folder / "log")
        results.add(case, plan.key(case), identifier, finished.seconds, evaluate_export(run, exported))


def evaluate_export(run: Run, exported: Path) -> FigureValues:
    """The figures of a model that any program exported.

    Args:
        run: a prepared run of the evaluation, with photos and identifier.
        exported: folder in diffusers' layout.
    """
    source = Model(source=str(exported))

    def load_trained() -> ModelFamily:
        run.free_model()
        return load(source, run.distributed, run.config.training.mixed_precision)

    (embeddings,), _ = evaluate.embed(run, load_trained)
    figures = compute(embeddings).model_dump(mode="json")
    return figures | follow_by_kind(embeddings, run.config.evaluation.contexts)


def follow_by_kind(embeddings: Embeddings, contexts: Sequence[str]) -> dict[str, float]:
    """FOLLOW of the pictures on a plain background, and of those in a scene, each among the texts of all contexts."""
    is_background_C = torch.tensor([context.endswith("background") for context in contexts])
    rows_N = is_background_C[embeddings.context_N]
    return {
        name: follow(embeddings.in_contexts_ND[rows], embeddings.context_texts_CD, embeddings.context_N[rows])
        for name, rows in (("followBackgrounds", rows_N), ("followScenes", ~rows_N))
    }


def _training(
    case: Case, plan: Plan, identifier: str, script: Path | None, cache: Path, output: Path
) -> tuple[list[str], Path]:
    """The command that trains, and the folder of the exported model."""
    if case.program is not Program.SCRIPT:
        return trainer_command(plan.trainer_config(case, identifier), output, cache), output / "model" / "diffusers"
    if script is None:
        raise ValueError("the path of diffusers' script is needed")
    class_images = cache / "script" / f"class-images-{case.subject}" if case.prior else None
    options = {**plan.settings[case.program]["arguments"], "seed": case.seed}
    return script_command(script, plan.base, Subject(case.subject), identifier, output, class_images, options), output
