"""What the API server refuses to make, by whom it is forbidden and what to do: ResourceQuota, LimitRange, or anything else.

Used by policies (of objects that the operator makes) and by `diagnosis.py` (of pods, which the Job controller makes).
"""

import re

from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding

_QUOTA = re.compile(r"\bexceeded quota\b")
_UNSPECIFIED = re.compile(r"\bfailed quota\b|\bmust specify\b")
_LIMIT_RANGE = re.compile(r"\bper (Container|Pod|PersistentVolumeClaim) is\b")


def refused(what: str, detail: str) -> Finding:
    """The finding about something that may not be made.

    Args:
        what: kind and name, or whose pods.
        detail: what the API server said.
    """
    known = {
        _QUOTA: reasons.QUOTA_EXCEEDED,
        _UNSPECIFIED: reasons.QUOTA_UNSPECIFIED,
        _LIMIT_RANGE: reasons.LIMIT_RANGE_EXCEEDED,
    }
    reason = next((reason for words, reason in known.items() if words.search(detail)), reasons.REFUSED)
    return reason(what=what, detail=detail)
