"""Memory of this machine, or of the container that this process runs in."""

from pathlib import Path

import psutil

GROUP = Path("/sys/fs/cgroup")
"""Folder of the container's control group (cgroup v2)."""


def free_memory(group: Path = GROUP) -> int:
    """Bytes that the memory of this machine, and the memory limit of the container, leave.

    Cached files don't count as used, since the kernel frees them first.
    """
    free = psutil.virtual_memory().available
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, min(free, limit - used + int(counts["inactive_file"])))
    except (OSError, ValueError, KeyError):
        # Not in a container, or one without a limit, where `memory.max` is "max".
        return free
