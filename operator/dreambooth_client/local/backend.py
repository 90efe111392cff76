"""A folder of this machine as a place in which workloads run, each as a process of its own."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.failures import InvalidConfig
from dreambooth_api.files import located, resolved, shortened
from dreambooth_api.job import KIND, DreamBoothJob
from dreambooth_api.scene import Scene
from dreambooth_api.workload import API_VERSION
from dreambooth_client.backend import Report
from dreambooth_client.errors import LocalFailure, NotComplete
from dreambooth_client.fields import merged
from dreambooth_client.local.processes import running, start, stop
from dreambooth_client.local.reach import out_of_reach
from dreambooth_client.local.runs import SCENES, run_of, runs_in, scene_folder, scene_of, scenes_in
from dreambooth_client.manifests import read_job
from dreambooth_client.parts import Part, chosen
from dreambooth_client.pictures import sections_with_pictures
from dreambooth_client.preparation import Prepared, sound
from dreambooth_client.seen import Seen, Target
from dreambooth_trainer.process.records import Records
from dreambooth_trainer.process.storage import atomic_folder, write_json
from dreambooth_trainer.run import RunFolder, default_cache
from dreambooth_trainer.scene import LOCK

SECONDS = 0.5
"""Time between two looks at files."""


@dataclass(frozen=True)
class LocalBackend:
    """A folder of runs; see `Backend`."""

    folder: Path
    cache: Path | None = None
    """Folder of class images that runs share. Default: that of the command `dreambooth run`."""

    has_files_at_hand: ClassVar[bool] = True

    @property
    def place(self) -> str:
        """See `Backend`."""
        return f"this machine, in {shortened(self.folder)}"

    async def check(self, prepared: Prepared) -> None:
        """See `Backend`."""
        if problems := list(out_of_reach(prepared.config)):
            raise InvalidConfig(problems)

    async def submit(self, prepared: Prepared) -> Seen:
        """See `Backend`."""
        await self.check(prepared)
        folder = self.folder / prepared.name
        if folder.exists():
            raise LocalFailure(f"{folder} exists. Choose another name, or delete it.")
        # Made at once, so that a copy that fails leaves no folder that takes the name.
        with atomic_folder(folder, replace=False) as staging:
            job = _with_own_photos(prepared, Records.of(staging).photos, Records.of(folder).photos)
            write_json(Records.of(staging).manifest, job)
        self._start(folder, job)
        return await self.read(Target(KIND, prepared.name))

    async def start_scene(self, job: Seen, name: str, scene: Scene) -> Seen:
        """See `Backend`."""
        folder = self.folder / job.target.name / SCENES / name
        settings = scene.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        spec = {"jobName": job.target.name, **settings}
        manifest = {"apiVersion": API_VERSION, "kind": SCENE_KIND, "metadata": {"name": name}, "spec": spec}
        write_json(Records.of(folder).manifest, manifest)
        self._start(folder, manifest)
        return await self.read(Target(SCENE_KIND, name))

    async def listed(self, kind: str) -> Sequence[Seen]:
        """See `Backend`."""
        return runs_in(self.folder) if kind == KIND else scenes_in(self.folder)

    async def read(self, target: Target) -> Seen:
        """See `Backend`."""
        return self._found(target)[1]

    async def followed(self, target: Target, report: Report) -> AsyncIterator[Seen]:
        """See `Backend`."""
        while True:
            seen = await self.read(target)
            yield seen
            if seen.has_ended:
                return
            await asyncio.sleep(SECONDS)

    async def log(self, target: Target, *, follow: bool) -> AsyncIterator[bytes]:
        """See `Backend`."""
        folder, _ = self._found(target)
        records = Records.of(folder)
        if not records.log.exists():
            raise LocalFailure(f"{target} has no log: a terminal has started it, and has shown what it printed.")
        with records.log.open("rb") as log:
            while True:
                ended = not follow or running(records, _lock(folder, target)) is None
                while piece := log.read(65536):
                    yield piece
                if ended:
                    return
                await asyncio.sleep(SECONDS)

    async def suspend(self, target: Target, wanted: bool) -> None:
        """See `Backend`."""
        folder, seen = self._found(target)
        if seen.has_ended:
            raise NotComplete(f"{target} can't be {'suspended' if wanted else 'resumed'}: it is {seen.phase}.")
        if wanted:
            await stop(Records.of(folder), _lock(folder, target))
        elif seen.phase == "Suspended":
            self._start(folder, _manifest_of(seen))

    async def retry(self, target: Target, changed: Mapping[str, Any], report: Report) -> None:
        """See `Backend`."""
        folder, seen = self._found(target)
        if not seen.has_ended:
            raise NotComplete(f"{target} has not ended: it is {seen.phase}.")
        manifest = merged(_manifest_of(seen), {"spec": changed})
        if target.kind == KIND:
            sound(read_job([manifest], folder / "manifest"))
        write_json(Records.of(folder).manifest, manifest)
        self._start(folder, manifest)

    async def delete(self, target: Target) -> None:
        """See `Backend`. The folder with the files is deleted too: it is all that there is."""
        folder, _ = self._found(target)
        await stop(Records.of(folder), _lock(folder, target))
        await asyncio.to_thread(shutil.rmtree, folder)

    async def fetch(self, seen: Seen, folder: Path | None, parts: Collection[Part], report: Report) -> Path:
        """See `Backend`. Without a folder, nothing is copied: the folder of the run or scene itself is returned."""
        source, _ = self._found(seen.target)
        if folder is None:
            return source
        paths = [file.relative_to(source) for file in sorted(source.rglob("*")) if file.is_file()]
        visible = [one.as_posix() for one in paths if not any(part.startswith(".") for part in one.parts)]
        for path in chosen(visible, parts) if seen.target.kind == KIND else visible:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(shutil.copy2, source / path, folder / path)
        return folder

    async def runtimes(self) -> Sequence[str]:
        """See `Backend`. Here are none."""
        return []

    def _found(self, target: Target) -> tuple[Path, Seen]:
        """A workload and its folder."""
        if target.kind != KIND:
            folder = scene_folder(self.folder, target.name)
        else:
            # A name that leads elsewhere is nobody's: a run can be deleted by its name.
            folder = self.folder / target.name if Path(target.name).name == target.name != ".." else None
        read = run_of if target.kind == KIND else scene_of
        seen = read(folder) if folder else None
        if folder is None or seen is None:
            raise LocalFailure(f"{target.kind} {target.name} does not exist in {self.folder}.")
        return folder, seen

    def _start(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Starts the process of a workload, whose settings follow from its manifest."""
        records = Records.of(folder)
        arguments = ["--config", str(records.settings), "--output", str(folder)]
        if manifest["kind"] == KIND:
            settings = resolved(DreamBoothJob.model_validate(manifest).spec.train_config, folder).model_dump(
                mode="json", by_alias=True, exclude_unset=True, exclude_none=True
            )
            cache = self.cache or default_cache() or self.folder / ".cache"
            program = ["dreambooth_trainer", "--cache", str(cache)]
        else:
            settings = {name: value for name, value in manifest["spec"].items() if name != "jobName"}
            program = ["dreambooth_trainer.scene", "--run", str(folder.parents[1])]
        write_json(records.settings, settings)
        start(["-m", *program, *arguments], records)


def _lock(folder: Path, target: Target) -> Path:
    return RunFolder(folder).lock if target.kind == KIND else folder / LOCK


def _manifest_of(seen: Seen) -> dict[str, Any]:
    return {name: value for name, value in seen.object.items() if name != "status"}


def _with_own_photos(prepared: Prepared, staging: Path, folder: Path) -> dict[str, Any]:
    """The manifest, with copies of its pictures: the user may change or remove the others.

    Args:
        prepared: the DreamBoothJob.
        staging: where to put the copies.
        folder: where they will be.
    """
    job = deepcopy(prepared.job)
    for pictures, section in sections_with_pictures(job["spec"]):
        source = section.get(pictures.key) or {}
        if path := source.get("path"):
            shutil.copytree(located(prepared.folder, path), staging / pictures.suffix)
            section[pictures.key] = {**source, "path": str((folder / pictures.suffix).absolute())}
    return job
