"""The client of Python: trains in a cluster or on this machine, waits, fetches, generates.

    from dreambooth_client import DreamBooth

    with DreamBooth() as dreambooth:
        job = dreambooth.submit("photos", "dog")
        job.wait(progress=True)
        job.generate("a {identifier} {class} on the beach")

The commands `dreambooth` use the same code.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreambooth_client.asynchronous import AsyncDreamBooth, AsyncJob, AsyncScene
    from dreambooth_client.errors import ClientFailure, ClusterFailure, LocalFailure, NotComplete, WorkloadFailed
    from dreambooth_client.synchronous import DreamBooth, Job, Scene

__all__ = [
    "AsyncDreamBooth",
    "AsyncJob",
    "AsyncScene",
    "ClientFailure",
    "ClusterFailure",
    "DreamBooth",
    "Job",
    "LocalFailure",
    "NotComplete",
    "Scene",
    "WorkloadFailed",
]
_MODULES = {"Async": "asynchronous", "Failure": "errors", "NotComplete": "errors", "WorkloadFailed": "errors"}


def __getattr__(name: str) -> Any:
    # Loaded when it is used: `dreambooth validate` reads manifests with a part of this package, and starts quickly.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = next((module for part, module in _MODULES.items() if part in name), "synchronous")
    return getattr(import_module(f"{__name__}.{module}"), name)
