"""`dreambooth open`: the report of a run, or the pictures that there are so far, in the browser."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from dreambooth_cli.cluster.fetch import copied, default_folder
from dreambooth_cli.cluster.options import Context, Name, Namespace, StartSeconds, in_cluster, target_or_exit
from dreambooth_cli.output import fail, say
from dreambooth_client.parts import Part

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session

SHOWN = "report.html", "scene.png", "samples/sheet.png"
"""The best to look at first."""


def open_(name: Name, start_seconds: StartSeconds = None, context: Context = None, namespace: Namespace = None) -> None:
    """Copy the report and the pictures to this machine and show them in the browser.

    Of a DreamBoothJob that still runs, shows the newest picture that it has generated on the way.
    """
    target = target_or_exit(name)

    async def work(session: "Session") -> Path:
        from dreambooth_client.cluster.workloads import read

        seen = await read(session, target)
        return await copied(session, seen, default_folder(seen), (Part.SAMPLES, Part.REPORT), start_seconds)

    folder = in_cluster(context, namespace, work)
    shown = best_of(folder)
    if shown is None:
        from dreambooth_client.errors import NotComplete

        fail(
            f"{target} has no pictures yet: samples.everySteps generates some during the training",
            NotComplete.exit_code,
        )
    say(shown)
    webbrowser.open(shown.absolute().as_uri())


def best_of(folder: Path) -> Path | None:
    """The file of a run or scene to look at: report, contact sheet or newest picture; None if there is none."""
    found = next((folder / name for name in SHOWN if (folder / name).is_file()), None)
    return found or max(folder.rglob("*.png"), key=lambda file: file.stat().st_mtime_ns, default=None)
