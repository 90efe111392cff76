"""Leader election with a Lease. Run by `main.py`; `control/writer.py` checks it before every write."""

import asyncio
import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from dreambooth_operator.kube.client import PATHS, Cluster, ClusterError
from dreambooth_operator.metrics.counters import LEADER
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

ATTEMPTS_PER_LEASE = 10
"""Number of attempts to acquire or renew the Lease within its duration."""


class LeadershipLost(Exception):
    """The Lease could not be renewed in time. Another replica may lead now, so this one must stop."""


class Leadership:
    """Participation of this replica in the leader election.

    Another replica takes the Lease over if it has not changed for `lease_seconds`. Each replica checks the Lease ten times in
    that period, so the Lease of a killed leader is taken over after at most 1.2 times `lease_seconds`.
    """

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._settings = settings
        retry = max(1.0, settings.lease_seconds / ATTEMPTS_PER_LEASE)
        self._lock = _LeaseLock(cluster, settings, timeout=retry)
        self._election = LeaderElection(
            Config(
                self._lock,
                lease_duration=settings.lease_seconds,
                renew_deadline=settings.lease_seconds - retry / 2,
                retry_period=retry,
                onstarted_leading=self._on_elected,
                onstopped_leading=None,  # type: ignore[arg-type]  # the library tests for None
            )
        )
        self.elected = asyncio.Event()
        """Set when this replica becomes the leader. It stays the leader until the process exits."""

    async def run(self) -> None:
        """Acquires the Lease, then renews it.

        Raises:
            LeadershipLost: The Lease could not be renewed in time.
        """
        self._lock.attempted = time.monotonic()
        await self._election.run()
        LEADER.set(0)
        raise LeadershipLost(f"the Lease {self._settings.lease_name} could not be renewed")

    def held(self) -> bool:
        """Whether this replica certainly still holds the Lease, also if the process was paused."""
        return time.monotonic() < self._lock.renewed + self._settings.lease_seconds

    def stalled(self) -> bool:
        """Whether the last attempt was longer ago than twice the duration of the Lease."""
        return time.monotonic() > self._lock.attempted + 2 * self._settings.lease_seconds

    async def release(self) -> None:
        """Releases the Lease if this replica holds it, so that another replica can lead at once. Call it after the last write."""
        if self.elected.is_set() and self.held():
            LEADER.set(0)
            await self._lock.release()
            log.info("released the Lease %s", self._settings.lease_name)

    async def _on_elected(self) -> None:
        LEADER.set(1)
        log.info("%s leads: it acquired the Lease %s", self._settings.identity, self._settings.lease_name)
        self.elected.set()


class _LeaseLock(BaseLock):
    """The Lease as a lock for the election of the client library.

    It replaces the lock of the library, whose requests can take longer than the duration of a Lease, and which ends the election
    on a network error.
    """

    def __init__(self, cluster: Cluster, settings: Settings, timeout: float) -> None:
        super().__init__(settings.lease_name, settings.namespace, settings.identity)
        self._cluster = cluster
        self._timeout = timeout
        self._lease: Object = {}
        self.renewed = float("-inf")
        """Start of the last successful renewal, on the monotonic clock."""
        self.attempted = float("-inf")
        """Start of the last attempt, on the monotonic clock."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """Gets the Lease; returns (True, record) or (False, error)."""
        self.attempted = time.monotonic()
        try:
            lease = await self._cluster.get("Lease", namespace, name, self._timeout)
        except ClusterError as error:
            failure = ApiException(status=error.status, reason=str(error))
            failure.body = "{}"
            return False, failure
        if lease is None:
            missing = ApiException(status=404, reason="Not Found")
            missing.body = json.dumps({"code": 404})
            return False, missing
        self._lease = lease
        spec = lease.get("spec", {})
        times = (spec.get("acquireTime"), spec.get("renewTime"))
        holder, duration = spec.get("holderIdentity") or None, spec.get("leaseDurationSeconds")
        return True, LeaderElectionRecord(holder, str(duration) if duration else None, *times)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Creates the Lease; returns whether it succeeded."""
        metadata = {"name": name, "namespace": namespace}
        return await self._write(metadata, election_record)

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Acquires or renews the Lease that `get` returned; returns False on an error or if another replica was faster."""
        metadata = {"name": name, "namespace": namespace, "resourceVersion": self._lease["metadata"]["resourceVersion"]}
        return await self._write(metadata, updated_record)

    async def release(self) -> None:
        """Clears the holder of the Lease. An error is only logged, because the Lease expires anyway."""
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        self.renewed = float("-inf")
        try:
            await self._cluster.replace({**self._lease, "spec": spec}, self._timeout)
        except ClusterError as error:
            log.warning("the Lease could not be released: %s", error)

    async def _write(self, metadata: dict[str, str], record: LeaderElectionRecord) -> bool:
        begun = time.monotonic()
        known = self._lease.get("spec", {})
        taken = bool(known) and known.get("holderIdentity") != self.identity
        spec = {
            "holderIdentity": record.holder_identity,
            "leaseDurationSeconds": int(float(record.lease_duration or 1)),
            "acquireTime": _micro_time(record.acquire_time),
            "renewTime": _micro_time(record.renew_time),
            "leaseTransitions": known.get("leaseTransitions", 0) + taken,
        }
        lease = {"apiVersion": PATHS["Lease"][0], "kind": "Lease", "metadata": metadata, "spec": spec}
        write = self._cluster.replace if "resourceVersion" in metadata else self._cluster.create
        try:
            self._lease = await write(lease, self._timeout)
        except ClusterError as error:
            log.log(logging.DEBUG if error.status == 409 else logging.WARNING, "the Lease was not renewed: %s", error)
            return False
        self.renewed = begun
        return True


def _micro_time(text: str | None) -> str:
    """A MicroTime from a timestamp of the library: local time without an offset, or a MicroTime that `get` returned."""
    moment = datetime.fromisoformat(text) if text else datetime.now(UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
