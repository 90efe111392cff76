"""Client of the API server for all requests except kopf's watches. Used by `control/`, `relist.py` and `lease.py`.

Objects are passed and returned as JSON. Each error of the network or the API server is raised as a `ClusterError`.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from dreambooth_api.dreamboothscene import SCENE_KIND, SCENE_PLURAL
from dreambooth_api.job import KIND, PLURAL
from dreambooth_api.runtime import RUNTIME_KIND, RUNTIME_PLURAL
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.kube.connection import load_configuration
from dreambooth_operator.objects.names import OPERATOR
from dreambooth_operator.objects.observed import InvalidField, Object, Reference

TIMEOUT_SECONDS = 30.0
"""Timeout of a request, including the response body."""
PAGE_SIZE = 500
"""Largest number of objects in one page of a list."""
FIRST_PAGE_SIZE = 20
"""Number of objects in the first page of a list, whose size is not known yet."""
PAGE_BYTES = 8 * 2**20
"""Longest page of a list; a longer response is discarded, unless it has only one object."""

LONGEST_RETRY_AFTER = 300.0
"""Longest time that the header Retry-After is heeded, in seconds."""

PATHS = {
    KIND: (API_VERSION, PLURAL),
    SCENE_KIND: (API_VERSION, SCENE_PLURAL),
    "ConfigMap": ("v1", "configmaps"),
    RUNTIME_KIND: (API_VERSION, RUNTIME_PLURAL),
    "Event": ("v1", "events"),
    "Job": ("batch/v1", "jobs"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "Namespace": ("v1", "namespaces"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Pod": ("v1", "pods"),
    "Service": ("v1", "services"),
}
"""API version and plural of each kind."""
CLUSTER_SCOPED = RUNTIME_KIND, "Namespace"
"""Kinds that are not namespaced."""

_METADATA_ALONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_TRANSIENT = {401, 408, 409, 429}

_APPLY = "application/apply-patch+yaml; charset=utf-8"
"""With the character set, as the Kubernetes client would otherwise encode the body itself, as JSON in ASCII."""
_NOT_LITERAL = re.compile("[\\x7f-\\x9f\\u2028\\u2029\\ufeff\\ufffe\\uffff]")
"""Characters that JSON allows in a string, but that YAML does not allow there, or reads as a line break."""


class ClusterError(Exception):
    """The API server could not be reached or returned an error."""

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: float | None = None,
        invalid_fields: Sequence[InvalidField] = (),
    ) -> None:
        super().__init__(f"{message} ({status})" if status else message)
        self.invalid_fields = invalid_fields
        """The fields of the object that its validation rejects; empty for other errors, such as those of admission webhooks."""
        self.retry_after = retry_after
        """Seconds for which the API server asks not to send the request again; None: it does not ask."""
        self.status = status
        """HTTP status code; 0 if there was no response."""
        self.message = message
        """Message of the API server."""

    @property
    def permanent(self) -> bool:
        """Whether a retry would fail too, because of the request itself, an admission policy or missing permissions."""
        return 400 <= self.status < 500 and self.status not in _TRANSIENT


class Cluster:
    """A client of the API server for one event loop; call `close` after use."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._running: dict[object, float] = {}
        self.on_answer: Callable[[float, int], None] = lambda begun, status: None
        """Called after each request about a single object: when it was sent, by `time.monotonic`, and the status code of the
        response; 0 if there was none."""
        self.on_request: Callable[[str, str, float], None] = lambda method, code, seconds: None
        """Called after each request: its method, the status code of the response (`none` if there was none), its seconds."""

    @classmethod
    async def connect(cls, context: str | None = None) -> "Cluster":
        """Creates a client of the API server that the environment names; see `load_configuration`."""
        return cls(client.ApiClient(await load_configuration(context)))

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()

    @property
    def configuration(self) -> client.Configuration:
        """Address and credentials; kopf's own client uses the same."""
        return self._api.configuration

    async def crds_installed(self) -> bool:
        """Whether the CustomResourceDefinitions are installed."""
        try:
            found = await self._request("GET", f"/apis/{API_VERSION}")
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return {PLURAL, SCENE_PLURAL, RUNTIME_PLURAL} <= {resource["name"] for resource in found["resources"]}

    async def get(self, kind: str, namespace: str, name: str, timeout: float = TIMEOUT_SECONDS) -> Object | None:
        """Gets an object, or None if it does not exist. Only the metadata of a ConfigMap is requested."""
        accept = _METADATA_ALONE if kind == "ConfigMap" else "application/json"
        try:
            return await self._request("GET", _path(kind, namespace, name), accept=accept, timeout=timeout)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: str, namespace: str | None, labels: str = "", trim: Callable[[Object], Object] = lambda item: item
    ) -> tuple[list[Object], int]:
        """Lists all objects of a kind, page by page; returns them with the resource version of the list.

        The number of objects in a page depends on the size of those before, so that large objects don't fill the memory.

        Args:
            kind: One of `PATHS`.
            namespace: Namespace; None: all namespaces.
            labels: Label selector.
            trim: Applied to each object of a page before the next page is requested.
        """
        query = {"labelSelector": labels}
        items: list[Object] = []
        size = FIRST_PAGE_SIZE
        while True:
            query["limit"] = str(size)
            most = PAGE_BYTES if size > 1 else None
            try:
                length, page = await self._request_page(_path(kind, namespace), query, most)
            except _TooLong:
                size = max(1, size // 4)
                continue
            items += [trim({"apiVersion": PATHS[kind][0], "kind": kind, **item}) for item in page["items"]]
            token = page["metadata"].get("continue")
            if not token:
                return items, int(page["metadata"]["resourceVersion"])
            query["continue"] = token
            # Half of the limit, as the next objects may be larger; and not many more than before.
            fitting = PAGE_BYTES * len(page["items"]) // (2 * length)
            size = max(1, min(PAGE_SIZE, 8 * size, fitting))

    async def create(self, item: Object, timeout: float = TIMEOUT_SECONDS) -> Object:
        """Creates an object; if it exists, the error is a conflict (409)."""
        path = _path(item["kind"], item["metadata"].get("namespace"))
        return await self._request("POST", path, body=item, timeout=timeout)

    async def check(self, item: Object) -> None:
        """Lets the API server validate an object to create, without storing it.

        Raises:
            ClusterError: it would not be created, or an admission webhook does not support dry runs.
        """
        path = _path(item["kind"], item["metadata"].get("namespace"))
        await self._request("POST", path, query={"dryRun": "All"}, body=item)

    async def replace(self, item: Object, timeout: float = TIMEOUT_SECONDS) -> Object:
        """Replaces an object; if it changed since its `resourceVersion`, the error is a conflict (409)."""
        metadata = item["metadata"]
        path = _path(item["kind"], metadata["namespace"], metadata["name"])
        return await self._request("PUT", path, body=item, timeout=timeout)

    async def patch(self, kind: str, namespace: str, name: str, change: Object) -> Object:
        """Changes some fields of an object (JSON merge patch, RFC 7396)."""
        path = _path(kind, namespace, name)
        return await self._request("PATCH", path, body=change, content_type="application/merge-patch+json")

    async def apply(self, item: Object, timeout: float = TIMEOUT_SECONDS) -> Object:
        """Applies an object server-side and takes over fields of other field managers."""
        metadata = item["metadata"]
        return await self._request(
            "PATCH",
            _path(item["kind"], metadata["namespace"], metadata["name"]),
            query={"fieldManager": OPERATOR, "force": "true"},
            body=as_yaml(item),
            content_type=_APPLY,
            timeout=timeout,
        )

    async def write_status(
        self, item: Object, status: Object, manager: str, timeout: float = TIMEOUT_SECONDS
    ) -> Object:
        """Replaces the status of a workload or DreamBoothRuntime, in the name of a field manager.

        This is an update, not a patch: it removes fields that `status` does not have, and if the object has changed since it
        was read, the error is a conflict (409).
        """
        kept = "name", "namespace", "uid", "resourceVersion"
        metadata = {key: value for key, value in item["metadata"].items() if key in kept}
        body = {"apiVersion": API_VERSION, "kind": item["kind"], "metadata": metadata, "status": status}
        path = _path(item["kind"], metadata.get("namespace"), metadata["name"]) + "/status"
        return await self._request("PUT", path, query={"fieldManager": manager}, body=body, timeout=timeout)

    async def delete(
        self, reference: Reference, namespace: str, uid: str | None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """Deletes an object with foreground propagation. Does nothing if the object is gone or was replaced by a new one.

        Args:
            reference: Kind and name.
            namespace: Namespace of the object.
            uid: UID of the object; None: any.
        """
        body: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            path = _path(reference.kind, namespace, reference.name)
            await self._request("DELETE", path, body=body, timeout=timeout)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    async def latest_event_message(
        self, namespace: str, kind: str, name: str, reason: str, since: datetime | None = None
    ) -> str | None:
        """Message of the latest Event about an object. Reads one page of Events, as a tenant can create any number of them.

        Args:
            namespace: Namespace of the object.
            kind: Kind of the object.
            name: Name of the object.
            reason: Reason of the Event.
            since: Older Events are ignored.
        """
        fields = f"involvedObject.kind={kind},involvedObject.name={name},reason={reason}"
        query = {"limit": str(PAGE_SIZE), "fieldSelector": fields}
        _, page = await self._request_page(_path("Event", namespace), query, None)
        latest = max(page["items"], key=_last_seen, default=None)
        if latest is None or (since and datetime.fromisoformat(_last_seen(latest)) < since):
            return None
        return str(latest["message"])

    def longest_request(self) -> float:
        """Seconds since the start of the longest running request."""
        return time.monotonic() - min(self._running.values()) if self._running else 0.0

    async def _request_page(self, path: str, query: Mapping[str, str], most: int | None) -> tuple[int, Any]:
        """One page of a list, with its length in bytes."""
        text = await self._send("GET", path, query=query, most=most)
        return len(text), json.loads(text)

    async def _request(self, method: str, path: str, **more: Any) -> Any:
        begun, status = time.monotonic(), 200
        try:
            text = await self._send(method, path, **more)
        except ClusterError as error:
            status = error.status
            raise
        finally:
            self.on_answer(begun, status)
        return json.loads(text)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = TIMEOUT_SECONDS,
        most: int | None = None,
    ) -> bytes:
        pairs = [(key, value) for key, value in (query or {}).items() if value]
        if method != "GET":
            # The API server must not carry out a write after this client has given it up.
            pairs.append(("timeout", f"{max(1, int(timeout * 1000))}ms"))
        headers = {"Accept": accept, "Content-Type": content_type}
        begun, code = time.monotonic(), "none"
        request = object()
        self._running[request] = begun
        try:
            async with asyncio.timeout(timeout):
                prepared = await self._api.param_serialize(
                    method, path, query_params=pairs, header_params=headers, body=body, auth_settings=["BearerToken"]
                )
                answer = await self._api.call_api(*prepared, _request_timeout=timeout)
                text = await _body(answer.response, most)
            code = str(answer.status)
        except ApiException as error:
            raise ClusterError(error.status or 0, str(error.reason)) from error
        except TimeoutError as error:
            raise ClusterError(0, f"no response within {timeout:g} s to {method} {path}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterError(0, f"{method} {path}: {error}") from error
        finally:
            del self._running[request]
            self.on_request(method, code, time.monotonic() - begun)
        if answer.status >= 300:
            message = _message(text) or f"{answer.reason}: {method} {path}"
            raise ClusterError(answer.status, message, _retry_after(answer.response.headers), _invalid_fields(text))
        return text


class _TooLong(Exception):
    """A response is longer than allowed."""


async def _body(response: aiohttp.ClientResponse, most: int | None) -> bytes:
    """The body of a response.

    Raises:
        _TooLong: it is longer than `most` bytes; the connection is closed.
    """
    text = bytearray()
    async for chunk in response.content.iter_any():
        text += chunk
        if most is not None and len(text) > most:
            response.close()
            raise _TooLong
    return bytes(text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from the header Retry-After, which the API server never writes as a date."""
    value = headers.get("Retry-After", "")
    return min(float(value), LONGEST_RETRY_AFTER) if value.isascii() and value.isdigit() else None


def as_yaml(item: Object) -> bytes:
    """An object as JSON in UTF-8 that is YAML too: YAML has no surrogate pairs, by which JSON in ASCII escapes characters
    beyond U+FFFF. Lone surrogates are replaced, as the API server does in JSON.
    """
    text = json.dumps(item, ensure_ascii=False)
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _NOT_LITERAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    api_version, plural = PATHS[kind]
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    scope = f"/namespaces/{namespace}" if namespace and kind not in CLUSTER_SCOPED else ""
    return f"{root}{scope}/{plural}" + (f"/{name}" if name else "")


def _message(text: bytes) -> str | None:
    """Message of a `Status` object; None for other content, such as the error page of a proxy."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return None


def _invalid_fields(text: bytes) -> list[InvalidField]:
    """The invalid fields in a `Status` object. Policies and webhooks also refuse objects as invalid: those name no field, or say
    in the message that they did.
    """
    try:
        status = json.loads(text)
        if status["reason"] != "Invalid" or status["message"].startswith("admission webhook"):
            return []
        causes = status["details"]["causes"]
        return [
            InvalidField(str(one["field"]), str(one["message"]))
            for one in causes
            if one["reason"].startswith("FieldValue")
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((time for time in times if time), event["metadata"]["creationTimestamp"])
