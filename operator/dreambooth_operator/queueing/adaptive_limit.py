"""Adapts the number of busy workers to the API server. `work_queue.py` asks for the limit, `kube/client.py` reports answers.

The rule is that of TCP congestion control, additive increase and multiplicative decrease (Chiu and Jain, 1989; RFC 5681): the
limit grows by one while as many requests succeed as it allows at the same time, and is halved when an answer shows overload.
"""

import time

SLOW_SECONDS = 1.0
"""An answer that takes longer shows overload: it is Kubernetes' objective for requests about a single object."""
GROWTH = 8
"""How many times as large as its least value the limit becomes at most."""
_OVERLOADED = 0, 429, 503, 504


class AdaptiveLimit:
    """A number that depends on the answers of the API server.

    Args:
        least: Its first and least value. Overload may have a cause in one namespace only, such as a slow admission webhook, and
            must not stop the others.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._limit = float(least)
        self._halved = float("-inf")
        self.reached = False
        """Whether work waits because of the limit. Otherwise, good answers say nothing about a larger one (RFC 7661)."""

    @property
    def value(self) -> int:
        """The limit."""
        return int(self._limit)

    def answered(self, begun: float, status: int) -> None:
        """Adapts the limit to the answer to a request about a single object.

        Args:
            begun: When the request was sent, by `time.monotonic`.
            status: Its HTTP status code; 0 if there was no response.
        """
        now = time.monotonic()
        if status in _OVERLOADED or now - begun > SLOW_SECONDS:
            # Requests that were sent before the limit was halved show the same overload again.
            if begun > self._halved:
                self._limit, self._halved = max(self._least, self._limit / 2), now
        elif self.reached:
            self._limit = min(GROWTH * self._least, self._limit + 1 / self._limit)
