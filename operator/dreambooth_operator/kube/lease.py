"""Leader election with a Lease. Run by `main.py`; `control/writer.py` checks it before every write.

All durations are measured on a clock that nobody can set and that continues while the machine sleeps. Times in the Lease are for
people: other replicas may have other clocks.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dreambooth_operator.kube.client import PATHS, Cluster, ClusterError
from dreambooth_operator.metrics.counters import LEADER
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

ATTEMPTS_PER_LEASE = 10
"""Number of attempts to acquire or renew the Lease within its duration."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds since some point in the past, including those for which the machine was suspended."""
    return time.clock_gettime(_CLOCK)


class LeadershipLost(Exception):
    """The Lease could not be renewed in time. Another replica may lead now, so this one must stop."""


class Leadership:
    """Participation of this replica in the leader election.

    Another replica takes the Lease over if it has not changed for the duration that is written in it. Each replica checks it ten
    times in that period, so the Lease of a killed leader is taken over after at most 1.2 times `lease_seconds`.
    """

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._retry = max(1.0, settings.lease_seconds / ATTEMPTS_PER_LEASE)
        self._lease: Object = {}
        """The last Lease that this replica read or wrote."""
        self._unchanged_since = float("-inf")
        self._renewed = float("-inf")
        self._attempted = float("inf")
        self.elected = asyncio.Event()
        """Set when this replica becomes the leader. It stays the leader until the process exits."""

    async def run(self) -> None:
        """Acquires the Lease, then renews it.

        Raises:
            LeadershipLost: The Lease could not be renewed in time.
        """
        while True:
            self._attempted = begun = clock()
            try:
                async with asyncio.timeout(self._retry):
                    await self._try()
            except TimeoutError:
                log.warning("the Lease %s: no response within %g s", self._settings.lease_name, self._retry)
            except ClusterError as error:
                level = logging.DEBUG if error.status == 409 else logging.WARNING
                log.log(level, "the Lease %s was not renewed: %s", self._settings.lease_name, error)
            if self.elected.is_set() and self.remaining() < self._retry / 2:
                LEADER.set(0)
                raise LeadershipLost(f"the Lease {self._settings.lease_name} could not be renewed")
            await asyncio.sleep(max(0.0, begun + self._retry - clock()))

    def held(self) -> bool:
        """Whether this replica certainly still holds the Lease, also if the process or the machine was paused."""
        return self.remaining() > 0

    def remaining(self) -> float:
        """Seconds for which this replica certainly still holds the Lease."""
        return max(0.0, self._renewed + self._settings.lease_seconds - clock())

    def stalled(self) -> bool:
        """Whether the last attempt was longer ago than twice the duration of the Lease."""
        return clock() > self._attempted + 2 * self._settings.lease_seconds

    async def release(self) -> None:
        """Releases the Lease if this replica holds it, so that another replica can lead at once. Call it after the last write."""
        if not self.elected.is_set() or not self.held():
            return
        LEADER.set(0)
        self._renewed = float("-inf")
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._cluster.replace({**self._lease, "spec": spec}, self._retry)
        except ClusterError as error:
            # It expires anyway.
            log.warning("the Lease could not be released: %s", error)
        else:
            log.info("released the Lease %s", self._settings.lease_name)

    async def _try(self) -> None:
        """Acquires or renews the Lease, unless another replica holds it."""
        name, namespace = self._settings.lease_name, self._settings.namespace
        found = await self._cluster.get("Lease", namespace, name, self._retry)
        if found is None:
            await self._write({"name": name, "namespace": namespace}, {})
            return
        if _version(found) != _version(self._lease):
            self._lease, self._unchanged_since = found, clock()
        spec = found.get("spec", {})
        holder = spec.get("holderIdentity")
        expired = clock() > self._unchanged_since + float(spec.get("leaseDurationSeconds") or 0)
        if not holder or expired or (holder == self._settings.identity and self.elected.is_set()):
            version = found["metadata"]["resourceVersion"]
            await self._write({"name": name, "namespace": namespace, "resourceVersion": version}, spec)
        elif self.elected.is_set():
            # Another replica has acquired it, so it is certainly not held any more.
            self._renewed = float("-inf")

    async def _write(self, metadata: dict[str, Any], known: Mapping[str, Any]) -> None:
        begun, now = clock(), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        same = known.get("holderIdentity") == self._settings.identity
        spec = {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": self._settings.lease_seconds,
            "acquireTime": known["acquireTime"] if same and "acquireTime" in known else now,
            "renewTime": now,
            "leaseTransitions": known.get("leaseTransitions", 0) + (bool(known) and not same),
        }
        lease = {"apiVersion": PATHS["Lease"][0], "kind": "Lease", "metadata": metadata, "spec": spec}
        write = self._cluster.replace if "resourceVersion" in metadata else self._cluster.create
        self._lease = await write(lease, self._retry)
        self._unchanged_since = self._renewed = begun
        if not self.elected.is_set():
            LEADER.set(1)
            log.info("%s leads: it acquired the Lease %s", self._settings.identity, self._settings.lease_name)
            self.elected.set()


def _version(lease: Object) -> str | None:
    version: str | None = lease.get("metadata", {}).get("resourceVersion")
    return version
