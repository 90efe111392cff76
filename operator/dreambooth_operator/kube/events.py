"""The Events that are emitted about a DreamBoothJob, as Kubernetes' objects; `control/controller.py` sends them.

Those of the core group and not of `events.k8s.io`: `kubectl describe` shows both, but only these have a count that may be
raised, by which the same event an hour long remains one object.
"""

import hashlib
from datetime import datetime
from typing import Any

from dreambooth_operator.objects.names import OPERATOR
from dreambooth_operator.objects.observed import Event, Object

MESSAGE_LENGTH = 1024
"""Longest message that the API server takes."""
NAME_LENGTH = 200
"""Characters of the job's name that an Event's name begins with at most."""


def event_object(job: Object, event: Event, now: datetime, identity: str) -> Object:
    """The object for an event that happens for the first time; the same event has the same name.

    Args:
        job: What it is about.
        event: What happened.
        now: When.
        identity: Which replica says it.
    """
    metadata = job["metadata"]
    words = "\n".join((metadata["uid"], event.type, event.reason, event.message))
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name'][:NAME_LENGTH]}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": job["apiVersion"],
            "kind": job["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:MESSAGE_LENGTH],
        "firstTimestamp": _time(now),
        "lastTimestamp": _time(now),
        "count": 1,
        "source": {"component": OPERATOR},
        "reportingComponent": OPERATOR,
        "reportingInstance": identity,
    }


def repeated(known: Object, now: datetime) -> Object:
    """The object for an event that happened again."""
    again: dict[str, Any] = {**known, "count": known.get("count", 0) + 1, "lastTimestamp": _time(now)}
    return again


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
