"""The workloads of a namespace as a table, and one of them as a line."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from dreambooth_api.printing import one_line

if TYPE_CHECKING:
    from dreambooth_client.workloads import Seen

COLOURS = {"Complete": "green", "Failed": "red", "Running": "cyan", "Retrying": "yellow", "Suspended": "yellow"}
"""Of phases."""


def table(seen: "Sequence[Seen]", now: datetime, *, with_namespaces: bool) -> Table:
    """A row for each workload.

    Args:
        seen: the workloads.
        now: the time, from which ages follow.
        with_namespaces: whether the first column has the namespace.
    """
    # Without a border, as the tables of kubectl: lines that scripts can cut.
    result = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    names = ["NAME", "PHASE", "PROGRESS", "DONE", "LOSS", "LEFT", "AGE", "MESSAGE"]
    for name in ["NAMESPACE", *names] if with_namespaces else names:
        # Only the last column gets narrower; its text is cut, not wrapped.
        result.add_column(name, no_wrap=name != names[-1])
    for one in seen:
        cells = _cells(one, now)
        result.add_row(*([str(one.object["metadata"]["namespace"])] if with_namespaces else []), *cells)
    return result


def _cells(seen: "Seen", now: datetime) -> list[str | Text]:
    status, age = seen.status, now - seen.created if seen.created else timedelta()
    progress = status.progress
    return [
        str(seen.target),
        Text(seen.phase, COLOURS.get(seen.phase, "")),
        f"{progress.percent} %" if progress else "",
        done(seen),
        loss(seen),
        left(seen),
        brief(age.total_seconds()),
        Text(why(seen), no_wrap=True, overflow="ellipsis"),
    ]


def done(seen: "Seen") -> str:
    """What is done of how much: steps of a training, pictures of a scene."""
    from dreambooth_api.status import SceneProgress

    progress = seen.status.progress
    if progress is None:
        return ""
    if isinstance(progress, SceneProgress):
        return f"{progress.pictures.done}/{progress.pictures.total} pictures" if progress.pictures else ""
    if progress.phase == "prior" and progress.class_images:
        return f"{progress.class_images.done}/{progress.class_images.total} class images"
    return f"{progress.step}/{progress.total_steps} steps" if progress.total_steps else ""


def loss(seen: "Seen") -> str:
    """The loss on the photos."""
    value = getattr(seen.status.progress, "loss", None)
    return f"{value:.4g}" if value is not None else ""


def left(seen: "Seen") -> str:
    """How long the trainer's phase takes, while it runs."""
    progress = seen.status.progress
    return brief(progress.eta_seconds) if progress and progress.eta_seconds and seen.phase == "Running" else ""


def details(seen: "Seen") -> list[str]:
    """What is known of the progress: what is done, the loss and the time left."""
    value, time = loss(seen), left(seen)
    parts = [done(seen), f"loss {value}" if value else "", f"{time} left" if time else ""]
    return [part for part in parts if part]


def why(seen: "Seen") -> str:
    """Why it waits, or has failed."""
    return "" if seen.phase in ("Running", "Complete") else one_line(seen.status.message or "")


def brief(seconds: float) -> str:
    """A duration in its largest unit, as kubectl writes ages: 40s, 12m, 3h, 5d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
