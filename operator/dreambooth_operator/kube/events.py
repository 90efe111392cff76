"""Builds the Event objects about a workload; `control/writer.py` writes them.

They are Events of the core group, not of `events.k8s.io`. `kubectl describe` shows both, but only a core Event has a `count`
that can be increased, so a repeated event remains one object.
"""

import hashlib
from datetime import datetime
from typing import Any

from dreambooth_operator.objects.names import OPERATOR
from dreambooth_operator.objects.observed import Event, Object

MESSAGE_LENGTH = 1024
"""Longest message that the API server accepts."""
NAME_LENGTH = 200
"""Longest part of the name of the workload that becomes part of the name of an Event."""


def event_object(owner: Object, event: Event, now: datetime, identity: str) -> Object:
    """The object for the first occurrence of an event. Repeated events have the same name.

    Args:
        owner: The involved object.
        event: The event.
        now: Time of the event.
        identity: Identity of this replica.
    """
    metadata = owner["metadata"]
    content = "\n".join((metadata["uid"], event.type, event.reason, event.message))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name'][:NAME_LENGTH]}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
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
    """The object for a repeated event: with a higher count."""
    again: dict[str, Any] = {**known, "count": known.get("count", 0) + 1, "lastTimestamp": _time(now)}
    return again


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
