"""A namespace of a cluster as a place in which workloads run."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dreambooth_api.job import KIND
from dreambooth_api.runtime import RUNTIME_KIND
from dreambooth_api.scene import Scene
from dreambooth_client.backend import Report
from dreambooth_client.cluster import changes, copying, following, logs, scenes, submission, workloads
from dreambooth_client.cluster.session import Session, connected, explained
from dreambooth_client.parts import Part
from dreambooth_client.preparation import Prepared
from dreambooth_client.seen import Seen, Target
from dreambooth_operator.kube.client import ClusterError


@dataclass(frozen=True)
class ClusterBackend:
    """A namespace of a cluster; see `Backend`."""

    session: Session
    folder: Path
    """Where copies go if nothing else is asked for."""

    has_files_at_hand: ClassVar[bool] = False

    @property
    def place(self) -> str:
        """See `Backend`."""
        return f"namespace {self.session.namespace}"

    async def check(self, prepared: Prepared) -> None:
        """See `Backend`."""
        await asyncio.to_thread(submission.objects_of, prepared)

    async def submit(self, prepared: Prepared) -> Seen:
        """See `Backend`."""
        job, pictures = await asyncio.to_thread(submission.objects_of, prepared)
        with explained():
            return await submission.submit(self.session, job, pictures)

    async def start_scene(self, job: Seen, name: str, scene: Scene) -> Seen:
        """See `Backend`."""
        with explained():
            return Seen(await self.session.cluster.create(scenes.scene_manifest(job, name, scene)))

    async def listed(self, kind: str) -> Sequence[Seen]:
        """See `Backend`."""
        with explained():
            return await workloads.listed(self.session, kind)

    async def read(self, target: Target) -> Seen:
        """See `Backend`."""
        with explained():
            return await workloads.read(self.session, target)

    async def followed(self, target: Target, report: Report) -> AsyncIterator[Seen]:
        """See `Backend`."""
        with explained():
            async for seen in following.followed(self.session, target, report):
                yield seen

    async def log(self, target: Target, *, follow: bool) -> AsyncIterator[bytes]:
        """See `Backend`."""
        with explained():
            async for piece in (await logs.log_of(self.session, target, follow=follow)).pieces:
                yield piece

    async def suspend(self, target: Target, wanted: bool) -> None:
        """See `Backend`."""
        with explained():
            await changes.suspend(self.session, target, wanted)

    async def retry(self, target: Target, changed: Mapping[str, Any], report: Report) -> None:
        """See `Backend`."""
        with explained():
            await changes.retry(self.session, target, changed, report)

    async def delete(self, target: Target) -> None:
        """See `Backend`. The claim with the files remains, unless `volumes.output.create.deletionPolicy` is `Delete`."""
        with explained():
            await submission.delete(self.session, target, wait=True)

    async def fetch(self, seen: Seen, folder: Path | None, parts: Collection[Part], report: Report) -> Path:
        """See `Backend`."""
        with explained():
            target = folder or default_folder(self.folder, seen)
            return await copying.copied(self.session, seen, target, parts, report=report)

    async def runtimes(self) -> Sequence[str]:
        """See `Backend`."""
        try:
            return [one["metadata"]["name"] for one in (await self.session.cluster.list(RUNTIME_KIND, None))[0]]
        except ClusterError as error:
            if error.status in (403, 404):
                return []
            with explained():
                raise


def default_folder(runs: Path, seen: Seen) -> Path:
    """Where the files of a workload belong if nothing else is asked for: those of a scene in the folder of its run, if any.

    Args:
        runs: folder of runs.
        seen: the workload.
    """
    name = seen.target.name
    return runs / name if seen.target.kind == KIND else runs / seen.spec.get("jobName", "") / "scenes" / name


@asynccontextmanager
async def cluster_backend(context: str | None, namespace: str | None, folder: Path) -> AsyncIterator[ClusterBackend]:
    """Connects to a cluster; see `connected`.

    Args:
        context: context of the kubeconfig.
        namespace: the namespace.
        folder: where copies go if nothing else is asked for.
    """
    async with connected(context, namespace) as session:
        yield ClusterBackend(session, folder)
