"""Measures how well each program learns a subject and preserves the rest of the model.

    python -m benchmarks.fidelity --script FILE

Every program trains every subject with every seed, with and without prior preservation. Then `evaluated.py` measures
all exported models with the same code. The result of a finished run is stored in a JSON file, so that an interrupted
benchmark can continue. `--table` prints the finished runs.
"""

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cases import Case, Plan, Program, cases
from benchmarks.programs import base_model, subjects
from benchmarks.results import Results, table
from dreambooth_trainer.start import quiet_libraries


def main(
    script: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="diffusers' train_dreambooth.py.")
    ] = None,
    program: Annotated[list[Program] | None, typer.Option(help="May be given several times. Default: all.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="May be given several times. Default: all.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be given several times. Default: 0, 1 and 2.")] = None,
    prior: Annotated[
        bool | None,
        typer.Option(
            "--with-prior/--without-prior", help="Only runs with, or without, prior preservation. Default: both."
        ),
    ] = None,
    per_prompt: Annotated[int, typer.Option(min=2, help="Pictures of each prompt of the evaluation.")] = 8,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time, with an equal share of the cores.")] = 1,
    gpu: Annotated[bool, typer.Option(help="A model of Stable Diffusion 1.5's size with random weights.")] = False,
    work: Annotated[Path, typer.Option(help="Folder of the results and of files that runs share.")] = Path(
        "runs/benchmarks"
    ),
    only_table: Annotated[bool, typer.Option("--table", help="Only print the finished runs.")] = False,
) -> None:
    """Runs the missing cases and prints a Markdown table."""
    plan = Plan(base_model(gpu, work), per_prompt)
    results = Results(work / "fidelity")
    wanted = cases(
        program or list(Program), subject or subjects(), seed or [0, 1, 2], [True, False] if prior is None else [prior]
    )
    missing = [case for case in wanted if results.find(case, plan.key(case)) is None]
    failed = False
    if not only_table:
        if script is None and any(case.program is Program.SCRIPT for case in missing):
            raise typer.BadParameter("is needed for runs of the script", param_hint="--script")
        failed = _run_all(missing, plan, results, script, work / "cache", jobs)
    finished = {case: results.find(case, plan.key(case)) for case in wanted}
    print(table({case: figures for case, figures in finished.items() if figures is not None}))
    raise typer.Exit(int(failed))


def _run_all(missing: list[Case], plan: Plan, results: Results, script: Path | None, cache: Path, jobs: int) -> bool:
    """Runs each case in its own process. Returns whether one failed."""
    # Libraries read both settings when they are imported: here, in the workers and in the programs that they start.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    quiet_libraries()
    from benchmarks.evaluated import run_case

    failed = False
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = {pool.submit(run_case, case, plan, results, script, cache): case for case in missing}
        try:
            for number, run in enumerate(as_completed(runs), start=1):
                error = run.exception()
                failed = failed or error is not None
                print(f"{number}/{len(runs)} {runs[run].name}: {error or 'done'}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return failed


if __name__ == "__main__":
    typer.run(main)
