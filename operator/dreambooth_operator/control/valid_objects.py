"""Remembers which objects the API server has validated, so that `writer.py` requests a dry run once for workloads that only
differ in their names and in what the trainer alone reads.
"""

import hashlib
import json
from collections import OrderedDict

from dreambooth_operator.objects.observed import Object

CAPACITY = 10_000
"""Largest number of objects that are remembered."""


class ValidObjects:
    """The objects that were valid lately.

    The name and UID of a workload don't count, but the length of the name does: it is part of other names, whose length is
    limited. If an object that was valid is invalid now, for example after an update of the cluster, its creation is refused.
    """

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def add(self, item: Object, owner: Object) -> None:
        """Remembers that an object of a workload is valid."""
        self._digests[_digest(item, owner)] = None
        if len(self._digests) > CAPACITY:
            self._digests.popitem(last=False)

    def has(self, item: Object, owner: Object) -> bool:
        """Whether an object, or the same one of another workload, was valid."""
        return _digest(item, owner) in self._digests


def _digest(item: Object, owner: Object) -> bytes:
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    text = json.dumps(item).replace(uid, "").replace(name, "\n" * len(name))
    return hashlib.sha256(text.encode()).digest()
