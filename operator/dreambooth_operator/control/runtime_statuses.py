"""Writes the status of each DreamBoothRuntime: whether its spec is valid.

It is judged once for each generation of its spec, so that two operators of different versions don't overwrite each other's
status without end.
"""

import asyncio
import logging
from datetime import UTC, datetime

from dreambooth_operator.control.writer import Writer
from dreambooth_operator.decide.status.runtime_status import status_of_runtime
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.kube.client import ClusterError
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import generation_of, name_of, uid_of

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
"""Interval between two looks at the runtimes in the cache."""


class RuntimeStatuses:
    """Judges new and changed runtimes."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._judged: dict[str, int] = {}

    async def run(self) -> None:
        """Runs without end."""
        while True:
            await self.once()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def once(self) -> None:
        """Judges each runtime whose spec has changed."""
        runtimes = {uid_of(item): item for item in self._store.runtimes()}
        self._judged = {uid: generation for uid, generation in self._judged.items() if uid in runtimes}
        for uid, item in runtimes.items():
            if self._judged.get(uid) != generation_of(item) and await self._judge(item):
                self._judged[uid] = generation_of(item)

    async def _judge(self, item: Object) -> bool:
        """Writes the status of a runtime; returns False if this must be tried again."""
        try:
            await self._writer.write_runtime_status(item, status_of_runtime(item, datetime.now(UTC)))
        except ClusterError as error:
            # After a change or deletion in the meantime, the watch delivers the new state.
            level = logging.DEBUG if error.status in (404, 409) else logging.WARNING
            log.log(level, "the status of DreamBoothRuntime %s was not written: %s", name_of(item), error)
            return error.permanent
        return True
