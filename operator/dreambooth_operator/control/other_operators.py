"""Notices other operators that serve the same DreamBoothJobs: each writes the status in the name of its own Lease."""

import logging
from datetime import UTC, datetime, timedelta

from dreambooth_operator.metrics.counters import OTHER_OPERATORS
from dreambooth_operator.objects.names import OPERATOR, status_manager
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import time_of
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

MARGIN = timedelta(seconds=30)
"""Time after its start in which a leader ignores writes of others: clocks differ, and it may replace one that has just ended."""


class OtherOperators:
    """The other operators that were noticed since this replica became the leader."""

    def __init__(self, settings: Settings) -> None:
        self._own = status_manager(settings.namespace, settings.lease_name)
        self._since = datetime.now(UTC)
        self._known: set[str] = set()

    def start(self) -> None:
        """Ignores all writes before this moment."""
        self._since = datetime.now(UTC) + MARGIN

    def look(self, owner: Object) -> None:
        """Reports each other operator that has written a status lately, once."""
        for one in owner["metadata"].get("managedFields", ()):
            manager, written = str(one.get("manager")), time_of(one.get("time"))
            if not manager.startswith(f"{OPERATOR}/") or manager in (self._own, *self._known):
                continue
            if written and written > self._since:
                self._known.add(manager)
                OTHER_OPERATORS.set(len(self._known))
                metadata = owner["metadata"]
                log.error(
                    "%s/%s: another operator serves the same DreamBoothJobs (Lease %s). Uninstall one of them, or let them "
                    "watch different namespaces",
                    metadata["namespace"],
                    metadata["name"],
                    manager.removeprefix(f"{OPERATOR}/"),
                )
