"""What a command about a cluster can end with, other than the failures of a training."""

from typing import ClassVar


class ClientFailure(Exception):
    """A failure whose message a user can act on."""

    exit_code: ClassVar[int]


class ClusterFailure(ClientFailure):
    """The API server can't be reached or refuses, an object does not exist, or a pod does not start."""

    exit_code = 11


class NotComplete(ClientFailure):
    """The workload has failed, or is not as far as the command needs."""

    exit_code = 12
