"""kopf's handlers: each takes note of an event and puts the key of the DreamBoothJob that it concerns on the queue.

Nothing else is asked of kopf: no change handlers (they keep the last spec in an annotation), no timers or daemons (a finalizer
and a task per object), no Events, no peering.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from dreambooth_api.job import GROUP, PLURAL, VERSION
from dreambooth_api.runtime import RUNTIME_PLURAL
from dreambooth_operator.kube.cache import Store, key_of
from dreambooth_operator.kube.client import PAGE, Cluster
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings

WATCH_SECONDS = 45
"""After which the API server ends a watch, which is then begun anew where it was; it says so two seconds before."""
SILENCE_SECONDS = 60.0
"""After which a watch that said nothing, not even that, is taken for dead."""
RETRY_SECONDS = (1, 2, 5, 10, 20)
"""Seconds between attempts of a request of kopf's; the last is repeated for ever."""


class _ForEver:
    """Pauses between attempts without an end: an API server that is away, or forbids, for long ends no watch."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1]))


def _settings() -> kopf.OperatorSettings:
    """How kopf watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = 25
    settings.networking.error_backoffs = _ForEver()
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.inactivity_timeout = SILENCE_SECONDS
    settings.watching.chunk_size = PAGE
    settings.watching.label_selectors["batch", "v1", "jobs"] = LABEL_JOB
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_JOB
    return settings


async def watch(registry: kopf.OperatorRegistry, settings: Settings, ending: asyncio.Event) -> None:
    """Watches until the flag is set or a signal ends the process."""
    await kopf.operator(
        registry=registry,
        settings=_settings(),
        # kopf would ask for the name of the user, and a user of a pod has none.
        identity=Identity(settings.identity),
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=ending,
    )


def handlers(
    store: Store,
    queue: WorkQueue,
    cluster: Cluster,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> kopf.OperatorRegistry:
    """All handlers.

    Args:
        store: What takes note of events.
        queue: What gets the keys.
        cluster: Whose credentials kopf uses.
        start: Called before anything is watched.
        stop: Called when nothing is watched any more, before the process ends.
    """
    registry = kopf.OperatorRegistry()
    logins = itertools.count()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    @kopf.on.event(GROUP, VERSION, RUNTIME_PLURAL, registry=registry)
    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    @kopf.on.event("", "v1", "pods", registry=registry)
    async def notice(event: Any, **_: Any) -> None:
        if (store.remove if event["type"] == "DELETED" else store.put)(event["object"]):
            queue.add_all(filter(None, [key_of(event["object"])]))

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        attempt = next(logins)
        await asyncio.sleep(min(attempt, 5))
        return await _connection(cluster, attempt)

    @kopf.on.startup(registry=registry)
    async def started(**_: Any) -> None:
        await start()

    @kopf.on.cleanup(registry=registry)
    async def stopped(**_: Any) -> None:
        await stop()

    return registry


async def _connection(cluster: Cluster, attempt: int) -> kopf.ConnectionInfo:
    """Our client's address and credentials.

    The attempt makes each login a new one: kopf ends rather than try the same credentials again, but a server that starts may
    refuse good ones for a moment.
    """
    configuration = cluster.configuration
    header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = (header or "").partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=scheme or None,
        token=token or None,
        trust_env=True,
        priority=attempt,
    )
