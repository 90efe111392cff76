"""The workloads of a namespace as a table, and one of them as a line."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.table import Table
from rich.text import Text

from dreambooth_client.display import COLOURS
from dreambooth_client.seen import Seen
from dreambooth_client.words import brief, done, left, loss, why


def table(seen: Sequence[Seen], now: datetime, *, with_namespaces: bool) -> Table:
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


def _cells(seen: Seen, now: datetime) -> list[str | Text]:
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
