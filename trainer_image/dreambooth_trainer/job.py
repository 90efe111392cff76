"""A training as a process. Called by `dreambooth run` and by `__main__`."""

import gc
import json
import os
from collections.abc import Mapping
from pathlib import Path

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.extras import missing_libraries
from dreambooth_trainer.models.identity import read_ahead
from dreambooth_trainer.monitoring.progress import TRAINING
from dreambooth_trainer.process.hub_cache import use_hub_cache
from dreambooth_trainer.process.termination import Outcome
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.start import Start, say


def run_job(
    config: TrainConfig,
    output: Path,
    *,
    cache: Path,
    port: int | None = None,
    termination_log: Path | None = None,
    progress_log: Path | None = None,
) -> int:
    """Runs a training until it ends or fails, and returns the exit code of the process.

    Args:
        config: the settings.
        output: folder of the run. With the folder of an earlier start, the run continues where that start stopped.
        cache: folder that runs share.
        port: see `Start.run`.
        termination_log: file for the termination message.
        progress_log: file for the progress, see `recorder`.
    """
    start, folder = Start(TRAINING, progress_log=progress_log), RunFolder(output)

    def work() -> Outcome:
        if folder.complete.exists():
            say(start.console, f"checking the finished phases in {output}")
        result = _run(config, folder, cache, start)
        warnings = start.progress.snapshot().warnings
        return Outcome("Completed", 0, f"the model is in {folder.model}", config.training.steps, result, warnings)

    outcome = start.run(work, output, folder.lock, port=port, termination_log=termination_log)
    if start.main and outcome.exit_code == 0:
        found = json.loads(folder.result.read_text())
        for warning in found["warnings"]:
            say(start.console, f"warning: {warning}")
        if choice := found.get("choice"):
            say(start.console, choice["reason"])
        results = {"model": folder.model, "contact sheet": folder.samples / "sheet.png", "report": folder.report}
        if upload := config.output.upload:
            say(start.console, f"{'uploaded to':14}{upload.to}")
        for what, path in results.items():
            say(start.console, f"{what:14}{path}")
    return outcome.exit_code


def _run(config: TrainConfig, folder: RunFolder, cache: Path, start: Start) -> Mapping[str, float | str | None]:
    if missing := list(missing_libraries(config)):
        raise InvalidConfig(missing)
    if "hf://" in (config.model.source[:5], config.evaluation.encoder[:5]) or Path(config.model.source).is_file():
        use_hub_cache(folder.hub, os.environ)
    if start.main:
        read_ahead(config.model)
    # Imported late: torch and the libraries around it take seconds to import, and signals and the health endpoint must
    # not wait for them. `Distributed` comes first, since DeepSpeed reads the environment when it is imported.
    from dreambooth_trainer.process.distributed import Distributed

    distributed = Distributed.from_environment()
    from dreambooth_trainer.pipeline import run_phases

    # Collecting garbage, which ends every phase, needn't look at the libraries.
    gc.freeze()
    run = Run(config, folder, cache, distributed, start.progress, start.stop)
    try:
        return run_phases(run)
    finally:
        run.trackers.close()
        # Libraries report what isn't collected at the end as leaks.
        gc.unfreeze()
