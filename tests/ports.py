"""Ports for servers that the tests start."""

import random
import socket

_BELOW_THOSE_OF_CONNECTIONS = range(20_000, 32_000)
"""Linux takes the local ports of connections from 32768 up: one of those may be gone before its server listens."""


def free_port() -> int:
    """A port on which nothing listens."""
    while True:
        port = random.SystemRandom().choice(_BELOW_THOSE_OF_CONNECTIONS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
