"""What the client can end with, other than the failures that a trainer reports before it runs (`InvalidConfig`)."""

from typing import ClassVar


class ClientFailure(Exception):
    """A failure whose message a user can act on."""

    exit_code: ClassVar[int]


class ClusterFailure(ClientFailure):
    """The API server can't be reached or refuses, an object does not exist, or a pod does not start."""

    exit_code = 11


class LocalFailure(ClientFailure):
    """On this machine, a run does not exist or exists already."""

    exit_code = 11


class NotComplete(ClientFailure):
    """The workload is not as far as the request needs."""

    exit_code = 12


class WorkloadFailed(NotComplete):
    """The workload has failed."""

    def __init__(self, name: str, reason: str | None, message: str) -> None:
        super().__init__(f"{name} has failed ({reason}): {message}")
        self.reason = reason
        """Why, in CamelCase: a class of failure of the trainer, or what the cluster did."""
