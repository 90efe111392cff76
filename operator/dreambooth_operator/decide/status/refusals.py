"""Explains why the API server refuses an object: ResourceQuota, LimitRange, the deletion of the namespace, or another reason.

Used by policies (for objects of the operator) and `diagnosis.py` (for pods, which the Job controller creates).
"""

import re

from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding

_QUOTA = re.compile(r"\bexceeded quota\b")
_UNSPECIFIED = re.compile(r"\bfailed quota\b|\bmust specify\b")
_TERMINATING = re.compile(r"\bin namespace \S+ because it is being terminated\b")
_LIMIT_RANGE = re.compile(r"\bper (Container|Pod|PersistentVolumeClaim) is\b")


def is_namespace_deleted(detail: str) -> bool:
    """Whether a message of the API server says that nothing can be created in a namespace that is being deleted."""
    return _TERMINATING.search(detail) is not None


def refused(what: str, detail: str) -> Finding:
    """The finding about a refused object.

    Args:
        what: kind and name of the object, or a description of the pods.
        detail: message of the API server.
    """
    known = {
        _TERMINATING: reasons.NAMESPACE_DELETED,
        _QUOTA: reasons.QUOTA_EXCEEDED,
        _UNSPECIFIED: reasons.QUOTA_UNSPECIFIED,
        _LIMIT_RANGE: reasons.LIMIT_RANGE_EXCEEDED,
    }
    reason = next((reason for pattern, reason in known.items() if pattern.search(detail)), reasons.REFUSED)
    return reason(what=what, detail=detail)
