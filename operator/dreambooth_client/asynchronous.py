"""What users of Python do with workloads, in a cluster or on this machine; `synchronous.py` has the same without `await`."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self, Unpack

from rich.console import Console

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.job import KIND
from dreambooth_api.printing import printable
from dreambooth_api.status import DreamBoothJobStatus, DreamBoothSceneStatus
from dreambooth_client.backend import Backend
from dreambooth_client.display import display
from dreambooth_client.errors import NotComplete, WorkloadFailed
from dreambooth_client.parts import Part
from dreambooth_client.preparation import JobOptions, Prepared, Source, prepare
from dreambooth_client.scenes import SceneOptions, scene_name, scene_of
from dreambooth_client.seen import Seen, Target


class AsyncDreamBooth:
    """A namespace of a cluster, or a folder of this machine, in which models are trained.

    Use it as a context manager: `async with AsyncDreamBooth() as dreambooth`.
    """

    def __init__(self, namespace: str | None = None, context: str | None = None, folder: Source = "runs") -> None:
        """A namespace of a cluster.

        Args:
            namespace: the namespace. Default: that of the context.
            context: context of the kubeconfig. Default: its current one; in a pod, the cluster of the pod.
            folder: where files are copied to.
        """
        self._namespace, self._context, self._folder = namespace, context, Path(folder)
        self._stack = AsyncExitStack()
        self._backend: Backend | None = None

    @classmethod
    def local(cls, folder: Source = "runs", cache: Source | None = None) -> Self:
        """This machine. Runs are processes that go on when Python ends.

        Args:
            folder: folder of the runs, as those of `dreambooth run`.
            cache: folder of class images that runs share. Default: `~/.cache/dreambooth`.
        """
        from dreambooth_client.local.backend import LocalBackend

        made = cls(folder=folder)
        made._backend = LocalBackend(Path(folder).absolute(), Path(cache).absolute() if cache else None)
        return made

    async def __aenter__(self) -> Self:
        """Connects to the cluster.

        Raises:
            ClusterFailure: there is no usable kubeconfig.
        """
        if self._backend is None:
            from dreambooth_client.cluster.backend import cluster_backend

            connecting = cluster_backend(self._context, self._namespace, self._folder)
            self._backend = await self._stack.enter_async_context(connecting)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connection."""
        await self._stack.aclose()

    @property
    def backend(self) -> Backend:
        """Where the workloads run."""
        if self._backend is None:
            raise RuntimeError("not connected: use it as a context manager")
        return self._backend

    async def check(
        self,
        photos: Source | Sequence[Source] | None = None,
        class_: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Prepared:
        """Checks a training and its photos, and starts nothing. The arguments are those of `submit`.

        Raises:
            InvalidConfig: everything that is wrong.
        """
        prepared = await asyncio.to_thread(prepare, photos, class_, options)
        await self.backend.check(prepared)
        return prepared

    async def submit(
        self,
        photos: Source | Sequence[Source] | None = None,
        class_: str | None = None,
        **options: Unpack[JobOptions],
    ) -> "AsyncJob":
        """Starts a training.

        Args:
            photos: a folder with photos of the subject, or photos. Default: those of the manifest.
            class_: what the subject is: dog, backpack, toy. Default: that of the manifest.
            options: see `JobOptions`.

        Raises:
            InvalidConfig: everything that is wrong with the options or the photos.
            ClientFailure: the cluster can't be reached or refuses, or the name is taken.
        """
        prepared = await asyncio.to_thread(prepare, photos, class_, options)
        for warning in prepared.warnings:
            _warn(warning)
        return AsyncJob(self.backend, await self.backend.submit(prepared))

    async def jobs(self) -> "list[AsyncJob]":
        """All DreamBoothJobs, by their names."""
        return [AsyncJob(self.backend, one) for one in await self.backend.listed(KIND)]

    async def scenes(self) -> "list[AsyncScene]":
        """All DreamBoothScenes, by their names."""
        return [AsyncScene(self.backend, one) for one in await self.backend.listed(SCENE_KIND)]

    async def job(self, name: str) -> "AsyncJob":
        """A DreamBoothJob.

        Raises:
            ClientFailure: it does not exist.
        """
        return AsyncJob(self.backend, await self.backend.read(Target(KIND, name)))

    async def scene(self, name: str) -> "AsyncScene":
        """A DreamBoothScene.

        Raises:
            ClientFailure: it does not exist.
        """
        return AsyncScene(self.backend, await self.backend.read(Target(SCENE_KIND, name)))

    async def runtimes(self) -> list[str]:
        """Names of the DreamBoothRuntimes; none on this machine, or where users may not see them."""
        return list(await self.backend.runtimes())


class AsyncWorkload:
    """A DreamBoothJob or DreamBoothScene, as it was when it was read last."""

    def __init__(self, backend: Backend, seen: Seen) -> None:
        self._backend = backend
        self.seen = seen
        """The object, with its status."""

    def __repr__(self) -> str:
        return f"<{self.seen.target.kind} {self.name}: {self.phase}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.seen.target.name

    @property
    def phase(self) -> str:
        """Its phase: Pending, Queued, Starting, Running, Retrying, Suspended, Complete or Failed."""
        return self.seen.phase

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec."""
        return self.seen.spec

    @property
    def created(self) -> datetime | None:
        """When it was created."""
        return self.seen.created

    @property
    def has_ended(self) -> bool:
        """Whether it is complete or has failed."""
        return self.seen.has_ended

    async def refresh(self) -> Self:
        """Reads it again."""
        self.seen = await self._backend.read(self.seen.target)
        return self

    async def follow(self) -> AsyncIterator[Self]:
        """Itself again and again, about once a second, last when it has ended."""
        async for seen in self._backend.followed(self.seen.target, _warn):
            self.seen = seen
            yield self

    async def wait(self, *, progress: bool = False, timeout: float | None = None) -> Self:
        """Waits until it is complete; it goes on if this is interrupted.

        Args:
            progress: whether to show its progress on stderr, or in the notebook.
            timeout: seconds. Default: for ever.

        Raises:
            WorkloadFailed: it has failed.
            TimeoutError: it has not ended in this time.
        """
        async with asyncio.timeout(timeout):
            if progress:
                with display(Console(stderr=True, highlight=False)) as shown:
                    async for _ in self.follow():
                        shown.update(self.seen)
            else:
                async for _ in self.follow():
                    pass
        if self.phase != "Complete":
            raise WorkloadFailed(str(self.seen.target), self.seen.reason, self.seen.status.message or "")
        return self

    async def logs(self, *, follow: bool = False) -> AsyncIterator[str]:
        """The lines that the trainer has written.

        Args:
            follow: whether to wait for more until it ends.
        """
        rest = b""
        async for piece in self._backend.log(self.seen.target, follow=follow):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield printable(line.decode(errors="replace"))
        if rest:
            yield printable(rest.decode(errors="replace"))

    async def suspend(self) -> None:
        """Stops it; it saves its state and gives its GPUs back.

        Raises:
            NotComplete: it has ended.
        """
        await self._backend.suspend(self.seen.target, True)
        await self.refresh()

    async def resume(self) -> None:
        """Lets it continue.

        Raises:
            NotComplete: it has ended.
        """
        await self._backend.suspend(self.seen.target, False)
        await self.refresh()

    async def retry(self, settings: Mapping[str, Any] | None = None) -> None:
        """Starts it again from what it has saved, after a failure or with other settings.

        Args:
            settings: fields of the spec that change.

        Raises:
            NotComplete: it has not ended.
        """
        await self._backend.retry(self.seen.target, settings or {}, _warn)
        await self.refresh()

    async def delete(self) -> None:
        """Deletes it. In a cluster, the claim with its files remains, unless its `deletionPolicy` is `Delete`; on this machine,
        its folder is deleted."""
        await self._backend.delete(self.seen.target)


class AsyncJob(AsyncWorkload):
    """A DreamBoothJob."""

    @property
    def status(self) -> DreamBoothJobStatus:
        """Its status: message, progress, result, conditions, attempts."""
        status = self.seen.status
        assert isinstance(status, DreamBoothJobStatus)
        return status

    async def fetch(self, folder: Source | None = None, only: Collection[str] = ("model", "samples", "report")) -> Path:
        """Copies its files to this machine; also while it runs. What is there already is not copied again.

        Args:
            folder: where to put them. Default: `runs/NAME`. On this machine, the folder of the run is returned.
            only: parts of the run.

        Returns:
            The folder.

        Raises:
            ClientFailure: there are none yet, or the copy failed; the next call continues.
            StorageUnavailable: a file can't be written.
        """
        return await self._backend.fetch(
            await self._now(), Path(folder) if folder is not None else None, [Part(one) for one in only], _warn
        )

    async def pictures(self) -> list[Path]:
        """The pictures of the prompts in `samples`; before it is complete, the newest ones that were generated on the way."""
        folder = await self.fetch(only=["samples"])
        final = sorted((folder / "samples").glob("*-after-*.png"))
        on_the_way = sorted((folder / "samples-on-the-way").glob("step-*"))
        return final or (sorted(on_the_way[-1].glob("*.png")) if on_the_way else [])

    async def report(self) -> Path:
        """The report, one HTML file.

        Raises:
            NotComplete: it is not complete.
        """
        return await self._reported("report.html")

    async def result(self) -> dict[str, Any]:
        """The content of `result.json`: figures, timings, memory, versions.

        Raises:
            NotComplete: it is not complete.
        """
        found: dict[str, Any] = json.loads((await self._reported("result.json")).read_text())
        return found

    async def start_scene(self, prompts: str | Sequence[str], **options: Unpack[SceneOptions]) -> "AsyncScene":
        """Starts to generate pictures with its model.

        Args:
            prompts: what to show; `{identifier}` and `{class}` stand for those of the run.
            options: see `SceneOptions`.

        Raises:
            InvalidConfig: the prompts or options are wrong.
        """
        scene = scene_of(prompts, options)
        return AsyncScene(self._backend, await self._backend.start_scene(self.seen, scene_name(self.name), scene))

    async def generate(self, prompts: str | Sequence[str], **options: Unpack[SceneOptions]) -> list[Path]:
        """Generates pictures with its model, waits for them and copies them to this machine. The arguments are those of
        `start_scene`.

        Raises:
            InvalidConfig: the prompts or options are wrong.
            WorkloadFailed: the scene has failed.
        """
        scene = await self.start_scene(prompts, **options)
        await scene.wait()
        return await scene.pictures()

    async def _reported(self, name: str) -> Path:
        file = await self.fetch(only=["report"]) / name
        if not file.exists():
            raise NotComplete(f"{self.name} has no {name} yet: it is {self.phase}.")
        return file

    async def _now(self) -> Seen:
        return (await self.refresh()).seen


class AsyncScene(AsyncWorkload):
    """A DreamBoothScene."""

    @property
    def status(self) -> DreamBoothSceneStatus:
        """Its status: message, progress, result, conditions, attempts."""
        status = self.seen.status
        assert isinstance(status, DreamBoothSceneStatus)
        return status

    async def fetch(self, folder: Source | None = None) -> Path:
        """Copies its pictures to this machine; also while it runs.

        Args:
            folder: where to put them. Default: `runs/JOB/scenes/NAME`. On this machine, its folder is returned.

        Returns:
            The folder.

        Raises:
            ClientFailure: there are none yet, or the copy failed; the next call continues.
            StorageUnavailable: a file can't be written.
        """
        await self.refresh()
        return await self._backend.fetch(self.seen, Path(folder) if folder is not None else None, (), _warn)

    async def pictures(self) -> list[Path]:
        """Its pictures, by prompt and seed, without the contact sheet."""
        folder = await self.fetch()
        result = self.status.result
        if result and result.record:
            # A changed scene has a contact sheet of another name, and may have pictures of before.
            return sorted(folder / one["file"] for one in json.loads((folder / result.record).read_text())["pictures"])
        return sorted(one for one in folder.glob("*.png") if one.stem != "scene")


def _warn(text: str) -> None:
    """Shows what is waited for, or what the author of a manifest should know."""
    Console(stderr=True).print(printable(text), markup=False, highlight=False, soft_wrap=True)
