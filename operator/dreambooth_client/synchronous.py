"""The client without `await`: the same classes and methods as in `asynchronous.py`, which has their documentation.

An event loop in a thread of its own does the work, so that it can also be used where a loop runs already, as in notebooks.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, Unpack

from dreambooth_api.status import DreamBoothJobStatus, DreamBoothSceneStatus
from dreambooth_client.asynchronous import AsyncDreamBooth, AsyncJob, AsyncScene, AsyncWorkload
from dreambooth_client.preparation import JobOptions, Prepared, Source
from dreambooth_client.scenes import SceneOptions
from dreambooth_client.seen import Seen

T = TypeVar("T")
W = TypeVar("W", bound=AsyncWorkload)


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="dreambooth")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for a result. Ctrl-C ends the work in order: a pod that it has started is deleted."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Waits for one item after the other."""

        async def following() -> T:
            return await anext(items)

        while True:
            try:
                yield self.run(following())
            except StopAsyncIteration:
                return

    def close(self) -> None:
        """Ends the thread, when work that was interrupted has ended in order."""
        asyncio.run_coroutine_threadsafe(_others_done(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _others_done() -> None:
    """Waits for all other tasks."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        # A second cancellation would break off what the first one has begun, such as the deletion of a pod.
        if not task.cancelling():
            task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class DreamBooth:
    """A namespace of a cluster, or a folder of this machine; see `AsyncDreamBooth`.

    Use it as a context manager, or call `close` in the end.
    """

    def __init__(self, namespace: str | None = None, context: str | None = None, folder: Source = "runs") -> None:
        self._open(AsyncDreamBooth(namespace, context, folder))

    @classmethod
    def local(cls, folder: Source = "runs", cache: Source | None = None) -> Self:
        """This machine; see `AsyncDreamBooth.local`."""
        made = cls.__new__(cls)
        made._open(AsyncDreamBooth.local(folder, cache))
        return made

    def _open(self, dreambooth: AsyncDreamBooth) -> None:
        self._loop, self._async = _Loop(), dreambooth
        try:
            self._loop.run(self._async.__aenter__())
        except BaseException:
            self._loop.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._loop.run(self._async.__aexit__())
        self._loop.close()

    def check(
        self,
        photos: Source | Sequence[Source] | None = None,
        class_: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Prepared:
        """See `AsyncDreamBooth.check`."""
        return self._loop.run(self._async.check(photos, class_, **options))

    def submit(
        self,
        photos: Source | Sequence[Source] | None = None,
        class_: str | None = None,
        **options: Unpack[JobOptions],
    ) -> "Job":
        """See `AsyncDreamBooth.submit`."""
        return Job(self._loop, self._loop.run(self._async.submit(photos, class_, **options)))

    def jobs(self) -> "list[Job]":
        """See `AsyncDreamBooth.jobs`."""
        return [Job(self._loop, one) for one in self._loop.run(self._async.jobs())]

    def scenes(self) -> "list[Scene]":
        """See `AsyncDreamBooth.scenes`."""
        return [Scene(self._loop, one) for one in self._loop.run(self._async.scenes())]

    def job(self, name: str) -> "Job":
        """See `AsyncDreamBooth.job`."""
        return Job(self._loop, self._loop.run(self._async.job(name)))

    def scene(self, name: str) -> "Scene":
        """See `AsyncDreamBooth.scene`."""
        return Scene(self._loop, self._loop.run(self._async.scene(name)))

    def runtimes(self) -> list[str]:
        """See `AsyncDreamBooth.runtimes`."""
        return self._loop.run(self._async.runtimes())


class Workload(Generic[W]):
    """A DreamBoothJob or DreamBoothScene; see `AsyncWorkload`."""

    def __init__(self, loop: _Loop, workload: W) -> None:
        self._loop, self._async = loop, workload

    def __repr__(self) -> str:
        return repr(self._async)

    @property
    def seen(self) -> Seen:
        """See `AsyncWorkload.seen`."""
        return self._async.seen

    @property
    def name(self) -> str:
        """See `AsyncWorkload.name`."""
        return self._async.name

    @property
    def phase(self) -> str:
        """See `AsyncWorkload.phase`."""
        return self._async.phase

    @property
    def spec(self) -> Mapping[str, Any]:
        """See `AsyncWorkload.spec`."""
        return self._async.spec

    @property
    def created(self) -> datetime | None:
        """See `AsyncWorkload.created`."""
        return self._async.created

    @property
    def has_ended(self) -> bool:
        """See `AsyncWorkload.has_ended`."""
        return self._async.has_ended

    def refresh(self) -> Self:
        """See `AsyncWorkload.refresh`."""
        self._loop.run(self._async.refresh())
        return self

    def follow(self) -> Iterator[Self]:
        """See `AsyncWorkload.follow`."""
        for _ in self._loop.iterate(self._async.follow()):
            yield self

    def wait(self, *, progress: bool = False, timeout: float | None = None) -> Self:
        """See `AsyncWorkload.wait`."""
        self._loop.run(self._async.wait(progress=progress, timeout=timeout))
        return self

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """See `AsyncWorkload.logs`."""
        return self._loop.iterate(self._async.logs(follow=follow))

    def suspend(self) -> None:
        """See `AsyncWorkload.suspend`."""
        self._loop.run(self._async.suspend())

    def resume(self) -> None:
        """See `AsyncWorkload.resume`."""
        self._loop.run(self._async.resume())

    def retry(self, settings: Mapping[str, Any] | None = None) -> None:
        """See `AsyncWorkload.retry`."""
        self._loop.run(self._async.retry(settings))

    def delete(self) -> None:
        """See `AsyncWorkload.delete`."""
        self._loop.run(self._async.delete())


class Job(Workload[AsyncJob]):
    """A DreamBoothJob; see `AsyncJob`."""

    @property
    def status(self) -> DreamBoothJobStatus:
        """See `AsyncJob.status`."""
        return self._async.status

    def fetch(self, folder: Source | None = None, only: Collection[str] = ("model", "samples", "report")) -> Path:
        """See `AsyncJob.fetch`."""
        return self._loop.run(self._async.fetch(folder, only))

    def pictures(self) -> list[Path]:
        """See `AsyncJob.pictures`."""
        return self._loop.run(self._async.pictures())

    def report(self) -> Path:
        """See `AsyncJob.report`."""
        return self._loop.run(self._async.report())

    def result(self) -> dict[str, Any]:
        """See `AsyncJob.result`."""
        return self._loop.run(self._async.result())

    def start_scene(self, prompts: str | Sequence[str], **options: Unpack[SceneOptions]) -> "Scene":
        """See `AsyncJob.start_scene`."""
        return Scene(self._loop, self._loop.run(self._async.start_scene(prompts, **options)))

    def generate(self, prompts: str | Sequence[str], **options: Unpack[SceneOptions]) -> list[Path]:
        """See `AsyncJob.generate`."""
        return self._loop.run(self._async.generate(prompts, **options))


class Scene(Workload[AsyncScene]):
    """A DreamBoothScene; see `AsyncScene`."""

    @property
    def status(self) -> DreamBoothSceneStatus:
        """See `AsyncScene.status`."""
        return self._async.status

    def fetch(self, folder: Source | None = None) -> Path:
        """See `AsyncScene.fetch`."""
        return self._loop.run(self._async.fetch(folder))

    def pictures(self) -> list[Path]:
        """See `AsyncScene.pictures`."""
        return self._loop.run(self._async.pictures())
