"""What a place must offer in which workloads run: a namespace of a cluster, or a folder of this machine."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dreambooth_api.scene import Scene
from dreambooth_client.parts import Part
from dreambooth_client.preparation import Prepared
from dreambooth_client.seen import Seen, Target

Report = Callable[[str], None]
"""Called with what is waited for."""


class Backend(Protocol):
    """A place in which workloads run. Methods raise `ClientFailure`, and `InvalidConfig` for what they are given."""

    @property
    def place(self) -> str:
        """What users call it."""

    @property
    def has_files_at_hand(self) -> bool:
        """Whether `fetch` without a folder copies nothing."""

    async def check(self, prepared: Prepared) -> None:
        """Raises `InvalidConfig` if a DreamBoothJob can't run here."""

    async def submit(self, prepared: Prepared) -> Seen:
        """Starts a DreamBoothJob. Its photos are copied."""

    async def start_scene(self, job: Seen, name: str, scene: Scene) -> Seen:
        """Starts to generate with the model of a DreamBoothJob."""

    async def listed(self, kind: str) -> Sequence[Seen]:
        """All workloads of a kind, by their names."""

    async def read(self, target: Target) -> Seen:
        """A workload as it is now."""

    def followed(self, target: Target, report: Report) -> AsyncIterator[Seen]:
        """A workload again and again, last when it has ended."""

    def log(self, target: Target, *, follow: bool) -> AsyncIterator[bytes]:
        """What the trainer has written; with `follow`, until it has ended."""

    async def suspend(self, target: Target, wanted: bool) -> None:
        """Stops a workload, which saves its state; or lets it continue."""

    async def retry(self, target: Target, changed: Mapping[str, Any], report: Report) -> None:
        """Starts a workload again that has ended, with some fields of the spec changed."""

    async def delete(self, target: Target) -> None:
        """Deletes a workload."""

    async def fetch(self, seen: Seen, folder: Path | None, parts: Collection[Part], report: Report) -> Path:
        """Files of a workload; all of a scene. Returns their folder."""

    async def runtimes(self) -> Sequence[str]:
        """Names of the DreamBoothRuntimes that users may see; none if there are none, or it is forbidden to look."""
