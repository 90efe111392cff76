"""Copies the parts of a run, or the pictures of a scene, to this machine."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from dreambooth_api.failures import StorageUnavailable
from dreambooth_api.job import KIND
from dreambooth_client.cluster.files import RemoteFile, local, remote_folder, verify
from dreambooth_client.cluster.session import Session
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.parts import Part, chosen
from dreambooth_client.seen import Seen

PATIENCE = 300.0
"""Seconds for which a pod may take to start: its node may have to pull the image."""

Advance = Callable[[RemoteFile, int], None]
"""Called with a file and the number of its further bytes that are there."""


def unseen(_: Sequence[RemoteFile]) -> AbstractContextManager[Advance]:
    """Shows nothing of a copy."""
    return nullcontext(lambda file, number: None)


async def copied(
    session: Session,
    seen: Seen,
    folder: Path,
    parts: Collection[Part],
    *,
    patience: float = PATIENCE,
    report: Callable[[str], None],
    shown: Callable[[Sequence[RemoteFile]], AbstractContextManager[Advance]] = unseen,
) -> Path:
    """Copies the files of a workload.

    Args:
        session: the connection.
        seen: the workload.
        folder: where to put them.
        parts: the parts of a run; a scene has none.
        patience: seconds for which a pod that reads them may take to start.
        report: called with what is waited for.
        shown: shows the progress of a copy of some files.

    Returns:
        The folder.

    Raises:
        ClusterFailure: there are no such files yet, or the copy failed; the next call continues.
        StorageUnavailable: a file can't be written.
    """
    async with remote_folder(session, seen, patience, report) as remote:
        files = {one.path: one for one in await remote.listed()}
        paths = chosen(list(files), parts) if seen.target.kind == KIND else list(files)
        if not paths:
            raise ClusterFailure(f"{seen.target} has none of these files yet. {seen.phase}: {seen.status.message}")
        wanted = [files[path] for path in paths]
        with shown(wanted) as advance:
            try:
                digests = await remote.fetch(wanted, folder, advance)
            except OSError as error:
                raise StorageUnavailable.of(error, folder) from error
    verify((local(path, folder) for path in paths), digests)
    return folder
