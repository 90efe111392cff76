"""Ports for servers that the tests start."""

import random
import socket

_CANDIDATES = range(20_000, 30_000)
"""Kubernetes takes NodePorts from 30000 up, and Linux takes the local ports of connections from 32768 up: one of those
may be gone before its server listens."""


def free_port() -> int:
    """A port on which nothing listens, at any address of this machine."""
    while True:
        port = random.SystemRandom().choice(_CANDIDATES)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return port
