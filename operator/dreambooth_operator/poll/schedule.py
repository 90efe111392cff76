"""Who is asked for progress, and when: for `poller.py`. No clock: the time is told.

All questions together come at most as fast as they could be answered if each took its whole time, so there is always a free
hand; the namespaces have their turns. However many trainers a tenant has, and however slow they are, those of another are asked
every `poll_seconds`.
"""

from collections.abc import Iterable

from dreambooth_operator.queueing.fair_turns import FairQueue
from dreambooth_operator.settings import Settings


class Schedule:
    """FairQueue of trainers, by the UIDs of their pods."""

    def __init__(self, settings: Settings) -> None:
        self._pause = settings.poll_seconds
        self._rate = settings.polls_at_once / settings.poll_timeout_seconds
        self._credit = self._most
        self._before: float | None = None
        self._asked: dict[str, float] = {}
        self._due: FairQueue[str] = FairQueue()

    def due(self, trainers: Iterable[tuple[str, str]], now: float, free: int) -> list[str]:
        """Who shall be asked now.

        Args:
            trainers: Namespace and UID of all that could be asked.
            now: The time in seconds; it never goes back.
            free: How many may be asked at most.
        """
        passed = 0.0 if self._before is None else now - self._before
        self._credit, self._before = min(self._most, self._credit + self._rate * passed), now
        present = {uid: namespace for namespace, uid in trainers}
        self._asked = {uid: asked for uid, asked in self._asked.items() if uid in present}
        for uid in sorted(present, key=self._last):
            if now - self._last(uid) >= self._pause:
                self._due.add(present[uid], uid)
        chosen: list[str] = []
        while self._credit >= 1 and len(chosen) < free and (next_ := self._due.pop()) is not None:
            if next_ in present:
                self._asked[next_] = now
                self._credit -= 1
                chosen.append(next_)
        return chosen

    @property
    def _most(self) -> float:
        """What may be asked at once after a silence: as much as in one second."""
        return max(1.0, self._rate)

    def _last(self, uid: str) -> float:
        return self._asked.get(uid, float("-inf"))
