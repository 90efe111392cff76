"""Trains the model with DeepSpeed, from the newest checkpoint to the last step, and gathers the weights."""

from collections.abc import Sequence
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING

from dreambooth_api.failures import Interrupted, NonFiniteLoss
from dreambooth_api.progress import JsonModel
from dreambooth_trainer.evaluation.pictures import sampler_of
from dreambooth_trainer.process.storage import atomic_folder
from dreambooth_trainer.run import Run
from dreambooth_trainer.training.candidates import Candidates, candidate_steps, write_weights
from dreambooth_trainer.training.checkpoints import Checkpoints
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.loss_curve import read_losses
from dreambooth_trainer.training.loss_log import LossLog
from dreambooth_trainer.training.micro_batches import micro_batches
from dreambooth_trainer.training.module import DreamBoothModule

if TYPE_CHECKING:
    from dreambooth_trainer.training.engine import Engine

LOOK_EVERY = 10
"""Steps between two looks at losses, stop signals and the clock, if a look has to wait for a GPU or for other
processes."""


class Trained(JsonModel):
    """Result of the phase."""

    steps: int
    resumed_at: int
    """Step from which this start resumed."""
    zero_stage: int
    processes: int
    batch: int | None = None
    """Photos in an optimizer step, over all processes; None in results up to version 0.1.0."""


def output(run: Run) -> Path:
    """The folder of the weights after the last step. Without a choice among steps it is `weights`."""
    training = run.config.training
    return run.folder.weights if training.stopping == "last" else Candidates(run.folder.candidates).of(training.steps)


def train(run: Run, datasets: Sequence[Dataset]) -> Trained:
    """Trains, and writes the weights to `output(run)` and, if there is a choice among steps, those of the other
    candidates.

    Args:
        run: the run.
        datasets: one for each size of the pictures.

    Raises:
        Interrupted: a stop was requested; the state is saved.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    # DeepSpeed takes seconds to import. Programs that only read results or generate pictures don't need it.
    from dreambooth_trainer.training.engine import Engine

    config, distributed = run.config, run.distributed
    training = config.training
    precision = distributed.precision(training.mixed_precision)
    # Trained weights need all bits. Adapters are trained next to rounded weights.
    model = run.hand_over_model(exact=training.method == "full")
    on_the_way = _prompts(run) if config.samples.every_steps else []
    model.keep_trained_parts(text_encoders=training.train_text_encoder, pictures_of=on_the_way)
    module = DreamBoothModule(model, training, config.prior.weight)
    engine = Engine(module, config.deepspeed, distributed, precision, one_size=len(datasets) == 1)
    settings = config.checkpoints
    checkpoints = Checkpoints(run.folder.checkpoints, settings.keep, settings.interval_seconds, distributed)
    start = _resume(checkpoints, engine, run)
    candidates, earlier = Candidates(run.folder.candidates), set(candidate_steps(training)[:-1])
    if distributed.is_main:
        candidates.keep_until(start)
    log = LossLog(run.folder.losses, distributed, resumed_at=start)
    run.trackers.tell(lambda one: one.begin(start, read_losses(run.folder.losses)))
    every = 1 if distributed.device.type == "cpu" and distributed.size == 1 else LOOK_EVERY
    batch = engine.division.batch
    images = batch * (2 if config.prior.enabled else 1)
    with (
        run.progress.phase("train", total=training.steps, unit="steps", done=start) as phase,
        distributed.in_step(),
    ):
        for step in range(start, training.steps):
            log.add(step + 1, engine.step(step, micro_batches(datasets, training.seed, step, engine.division)))
            done, last = step + 1, step + 1 == training.steps
            alone = distributed.size == 1 and (run.stop.requested or checkpoints.due)
            if last or done % every == 0 or alone or done in earlier:
                lines = log.flush()
                run.trackers.tell(methodcaller("steps", lines))
                newest = lines[-1]
                phase.advance(
                    len(lines),
                    loss=newest["loss"],
                    prior_loss=newest["priorLoss"],
                    learning_rate=newest["learningRate"],
                    grad_norm=newest["gradNorm"],
                    training_images=len(lines) * images,
                )
                # Before a checkpoint of this step, from which the training would not come here again.
                if done in earlier:
                    _write_weights(run, engine, candidates.of(done))
                # After the last step the weights themselves are saved.
                if not last:
                    _save(run, engine, checkpoints, done)
            if config.samples.every_steps and done % config.samples.every_steps == 0:
                _generate_samples_so_far(run, module, done)
        checkpoints.abandon()
        if settings.keep_last and start < training.steps:
            checkpoints.begin(training.steps, engine.state())
        _write_weights(run, engine, output(run))
        if checkpoints.pending:
            checkpoints.complete()
    trained = Trained(
        steps=training.steps, resumed_at=start, zero_stage=engine.stage, processes=distributed.size, batch=batch
    )
    engine.close()
    # The optimizer's memory must be free before the model is exported and the final pictures are generated.
    del engine, module
    distributed.release_memory()
    return trained


def _resume(checkpoints: Checkpoints, engine: "Engine", run: Run) -> int:
    """Loads the newest checkpoint, if any, and returns its step."""
    run.distributed.barrier()
    newest = checkpoints.newest()
    if newest is None:
        return 0
    engine.load(newest.files)
    run.progress.update(checkpoint_step=newest.step)
    return newest.step


def _save(run: Run, engine: "Engine", checkpoints: Checkpoints, step: int) -> None:
    """Completes a checkpoint that is written, begins another one if it is time, and stops if that is requested.

    Raises:
        Interrupted: a stop was requested; the state is saved.
    """
    stopping, due, writing = run.distributed.any(run.stop.requested, checkpoints.due, checkpoints.writing)
    if checkpoints.pending and (stopping or not writing):
        run.progress.update(checkpoint_step=checkpoints.complete())
    if stopping or due:
        checkpoints.begin(step, engine.state())
    if stopping:
        checkpoints.complete()
        raise Interrupted(f"stopped by a signal after step {step}; the next start continues from there")


def _write_weights(run: Run, engine: "Engine", folder: Path) -> None:
    """Gathers the weights, which the main process writes.

    Raises:
        NonFiniteLoss: a weight is NaN or infinite.
    """
    weights = engine.gather()
    if broken := next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None):
        raise NonFiniteLoss(
            f"the weights became infinite or NaN in the last step ({broken}). Lower training.learningRate, or "
            "lengthen training.warmupSteps, and choose another output folder."
        )
    if run.distributed.is_main:
        write_weights(folder, weights)


def _prompts(run: Run) -> list[str]:
    """Prompts of the pictures that are generated between steps."""
    return run.fill(run.config.samples.prompts)


def _generate_samples_so_far(run: Run, module: DreamBoothModule, step: int) -> None:
    """Generates one picture of each prompt with the present weights. All processes take part, since the weights may be
    sharded."""
    samples = run.config.samples
    module.eval()
    prompts = _prompts(run)
    generated = module.model.generate(prompts, range(len(prompts)), sampler_of(samples), run.resolution)
    module.train()
    if run.distributed.is_main:
        target = run.folder.samples_on_the_way / f"step-{step:08d}"
        files = {prompt: f"{number:02d}.png" for number, prompt in enumerate(prompts)}
        with atomic_folder(target) as folder:
            for file, image in zip(files.values(), generated.images, strict=True):
                image.save(folder / file)
        shown = {prompt: target / file for prompt, file in files.items()}
        run.trackers.tell(lambda one: one.pictures(step, shown))
