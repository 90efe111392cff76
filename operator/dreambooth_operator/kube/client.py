"""All that is said to the API server, beside what kopf watches: by `control/controller.py`, `relist.py` and `lease.py`.

Objects go in and come out as their JSON. Every error, of the network or of the server, is a `ClusterError`.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from dreambooth_api.job import API_VERSION, KIND, PLURAL
from dreambooth_api.runtime import RUNTIME_KIND, RUNTIME_PLURAL
from dreambooth_operator.metrics.counters import API_SECONDS
from dreambooth_operator.objects.names import OPERATOR
from dreambooth_operator.objects.observed import Object, Reference

TIMEOUT_SECONDS = 30.0
"""Within which a request must be answered in full."""
PAGE = 500
"""Objects of one page of a list."""

PATHS = {
    KIND: (API_VERSION, PLURAL),
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
"""API version and plural by kind."""
CLUSTER_SCOPED = RUNTIME_KIND, "Namespace"
"""Kinds whose objects are in no namespace."""

_METADATA_ALONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_NOT_FINAL = {401, 408, 409, 429}


class ClusterError(Exception):
    """The API server could not be reached or said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} ({status})" if status else message)
        self.status = status
        """HTTP status; 0 where there was no answer."""
        self.message = message
        """What the server said."""

    @property
    def final(self) -> bool:
        """Whether the same request would be refused again: what is wrong is in the request, a policy or a permission."""
        return 400 <= self.status < 500 and self.status not in _NOT_FINAL


class Cluster:
    """A client of the API server. Used in one event loop; `close` it."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> "Cluster":
        """A client with the credentials of `KUBECONFIG` if set, else of the pod, else of `~/.kube/config`."""
        configuration = client.Configuration()
        if not os.environ.get("KUBECONFIG"):
            with suppress(config.ConfigException):
                config.load_incluster_config(client_configuration=configuration)
                return cls(client.ApiClient(configuration))
        await config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        return cls(client.ApiClient(configuration))

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()

    @property
    def configuration(self) -> client.Configuration:
        """Address and credentials, for kopf's own client."""
        return self._api.configuration

    async def serves_our_kinds(self) -> bool:
        """Whether the CustomResourceDefinitions are installed."""
        try:
            found = await self._request("GET", f"/apis/{API_VERSION}")
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return {PLURAL, RUNTIME_PLURAL} <= {resource["name"] for resource in found["resources"]}

    async def get(self, kind: str, namespace: str, name: str, timeout: float = TIMEOUT_SECONDS) -> Object | None:
        """An object, of a ConfigMap its metadata alone; None if there is none."""
        accept = _METADATA_ALONE if kind == "ConfigMap" else "application/json"
        try:
            return await self._request("GET", _path(kind, namespace, name), accept=accept, timeout=timeout)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: str, namespace: str | None, labels: str = "") -> tuple[list[Object], int]:
        """All objects of a kind, page by page, and the resource version of the list.

        Args:
            kind: One of `PATHS`.
            namespace: None: of all namespaces.
            labels: Label selector.
        """
        query = {"limit": str(PAGE), "labelSelector": labels}
        items: list[Object] = []
        while True:
            page = await self._request("GET", _path(kind, namespace), query=query)
            items += [{"apiVersion": PATHS[kind][0], "kind": kind, **item} for item in page["items"]]
            following = page["metadata"].get("continue")
            if not following:
                return items, int(page["metadata"]["resourceVersion"])
            query["continue"] = following

    async def create(self, item: Object, timeout: float = TIMEOUT_SECONDS) -> Object:
        """Creates an object; one that exists is a conflict (409)."""
        path = _path(item["kind"], item["metadata"].get("namespace"))
        return await self._request("POST", path, body=item, timeout=timeout)

    async def replace(self, item: Object, timeout: float = TIMEOUT_SECONDS) -> Object:
        """Replaces an object; one that changed since `resourceVersion` is a conflict (409)."""
        metadata = item["metadata"]
        path = _path(item["kind"], metadata["namespace"], metadata["name"])
        return await self._request("PUT", path, body=item, timeout=timeout)

    async def apply(self, item: Object) -> Object:
        """Applies an object server-side: what it says becomes ours, whoever said it before."""
        metadata = item["metadata"]
        return await self._request(
            "PATCH",
            _path(item["kind"], metadata["namespace"], metadata["name"]),
            query={"fieldManager": OPERATOR, "force": "true"},
            body=item,
            content_type="application/apply-patch+yaml",
        )

    async def write_status(self, job: Object, status: Object) -> Object:
        """Replaces the status of a DreamBoothJob.

        Neither a patch nor applying: fields that are left out vanish, and if the job has changed since `job` was read, by
        whomever, it is a conflict (409) and nothing is written.
        """
        metadata = {key: job["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}
        path = _path(KIND, metadata["namespace"], metadata["name"]) + "/status"
        return await self._request("PUT", path, query={"fieldManager": OPERATOR}, body=body)

    async def delete(self, reference: Reference, namespace: str, uid: str | None) -> None:
        """Deletes an object after all that it owns; nothing if it is gone or another one has its name now.

        Args:
            reference: Kind and name.
            namespace: Its namespace.
            uid: Which one of that name; None: any.
        """
        body: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._request("DELETE", _path(reference.kind, namespace, reference.name), body=body)
        except ClusterError as error:
            if error.status not in (404, 409):
                raise

    async def complaint(
        self, namespace: str, kind: str, name: str, reason: str, since: datetime | None = None
    ) -> str | None:
        """What the latest Event about an object says; of one page of them, as a tenant may make as many as it likes.

        Args:
            namespace: Its namespace.
            kind: Its kind.
            name: Its name.
            reason: The Event's reason.
            since: Older ones count no more.
        """
        fields = f"involvedObject.kind={kind},involvedObject.name={name},reason={reason}"
        query = {"limit": str(PAGE), "fieldSelector": fields}
        page = await self._request("GET", _path("Event", namespace), query=query)
        latest = max(page["items"], key=_last_seen, default=None)
        if latest is None or (since and datetime.fromisoformat(_last_seen(latest)) < since):
            return None
        return str(latest["message"])

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = TIMEOUT_SECONDS,
    ) -> Any:
        pairs = [(key, value) for key, value in (query or {}).items() if value]
        headers = {"Accept": accept, "Content-Type": content_type}
        begun, code = time.monotonic(), "none"
        try:
            async with asyncio.timeout(timeout):
                prepared = await self._api.param_serialize(
                    method, path, query_params=pairs, header_params=headers, body=body, auth_settings=["BearerToken"]
                )
                answer = await self._api.call_api(*prepared, _request_timeout=timeout)
                text = await answer.read()
            code = str(answer.status)
        except ApiException as error:
            raise ClusterError(error.status or 0, str(error.reason)) from error
        except TimeoutError as error:
            raise ClusterError(0, f"no answer within {timeout:g} s to {method} {path}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterError(0, f"{method} {path}: {error}") from error
        finally:
            API_SECONDS.labels(method, code).observe(time.monotonic() - begun)
        if answer.status >= 300:
            raise ClusterError(answer.status, _message(text) or f"{answer.reason}: {method} {path}")
        return json.loads(text)


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    api_version, plural = PATHS[kind]
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    scope = f"/namespaces/{namespace}" if namespace and kind not in CLUSTER_SCOPED else ""
    return f"{root}{scope}/{plural}" + (f"/{name}" if name else "")


def _message(text: bytes) -> str | None:
    """What a `Status` of the API server says; a proxy's page says nothing."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return None


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((time for time in times if time), event["metadata"]["creationTimestamp"])
