"""kopf's handlers. Each updates the cache from an event and queues the key of the workload.

Other features of kopf are not used: change handlers store the last spec in an annotation, timers and daemons need a finalizer and
a task for each object, and Events and peering are not needed.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from dreambooth_api.dreamboothscene import SCENE_PLURAL
from dreambooth_api.job import PLURAL
from dreambooth_api.runtime import RUNTIME_PLURAL
from dreambooth_api.workload import GROUP, VERSION
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.kube.client import FIRST_PAGE_SIZE, Cluster
from dreambooth_operator.objects.names import LABEL_ATTEMPT
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings

WATCH_SECONDS = 45
"""Timeout after which the API server ends a watch; kopf continues it. A bookmark arrives two seconds earlier."""
INACTIVITY_SECONDS = 60.0
"""Time without any data, bookmarks included, after which a watch is considered dead."""
RETRY_SECONDS = (1, 2, 5, 10, 20)
"""Delays between the attempts of kopf's requests; the last one is repeated without end."""


class _RetryForever:
    """Endless delays between attempts: a watch survives an API server that is unavailable or forbids it for a long time."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1]))


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf compares each object with its last handled state, also if only event handlers are registered, and copies it several
    times to do so. Here, the states are empty."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Stores nothing."""


def _settings(namespace_selector: str) -> kopf.OperatorSettings:
    """Settings of kopf."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = 25
    settings.networking.error_backoffs = _RetryForever()
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.inactivity_timeout = INACTIVITY_SECONDS
    # kopf keeps complete objects until their handlers are done and for the idle time after that.
    settings.watching.chunk_size = FIRST_PAGE_SIZE
    settings.queueing.idle_timeout = 0.1
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.watching.label_selectors["", "v1", "namespaces"] = namespace_selector
    settings.watching.label_selectors["batch", "v1", "jobs"] = LABEL_ATTEMPT
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_ATTEMPT
    return settings


async def watch(registry: kopf.OperatorRegistry, settings: Settings, ending: asyncio.Event) -> None:
    """Watches until the flag is set, the process receives a signal, or a watched kind does not exist any more."""
    await kopf.operator(
        registry=registry,
        settings=_settings(settings.namespace_selector),
        # By default, kopf uses the name of the user, and the user in the pod has no name.
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
    namespace_changed: Callable[[str, bool], None] | None,
) -> kopf.OperatorRegistry:
    """Registers all handlers.

    Args:
        store: The cache that events update.
        queue: The queue for the keys.
        cluster: The client whose credentials kopf uses.
        start: Called before the watches start.
        stop: Called after the watches have ended, before the process exits.
        namespace_changed: Called with the name of a namespace, and whether it matches the selector; None: there is no selector.
    """
    registry = kopf.OperatorRegistry()
    logins = itertools.count()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    @kopf.on.event(GROUP, VERSION, SCENE_PLURAL, registry=registry)
    @kopf.on.event(GROUP, VERSION, RUNTIME_PLURAL, registry=registry)
    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    @kopf.on.event("", "v1", "pods", registry=registry)
    async def on_event(event: Any, **_: Any) -> None:
        if (store.remove if event["type"] == "DELETED" else store.put)(event["object"]):
            queue.add_all(store.affected(event["object"]))

    if namespace_changed:

        @kopf.on.event("", "v1", "namespaces", registry=registry)
        async def on_namespace(event: Any, **_: Any) -> None:
            # The API server reports a namespace as deleted as well if it does not match any more.
            namespace_changed(event["object"]["metadata"]["name"], event["type"] != "DELETED")

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
    """Address and credentials of the operator's own client.

    The number of the attempt makes each login different. kopf would exit instead of trying the same credentials again, but an API
    server that is starting may reject valid credentials for a moment.
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
        proxy_url=configuration.proxy,
        priority=attempt,
    )
