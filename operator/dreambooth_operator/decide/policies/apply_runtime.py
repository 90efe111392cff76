"""Applies a DreamBoothRuntime to a workload. Used by `decide/decision.py` and `runtimes.py`, so that builders get one spec
that contains the fields of both.
"""

from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.runtime import Runtime
from dreambooth_api.sections import Resources


def with_runtime(workload: Workload, runtime: Runtime) -> Workload:
    """The workload with the fields that its runtime sets. `limits.py` checks whether the runtime allows the others."""
    spec, given = workload.spec, runtime.spec
    if runtime.name is None:
        return workload
    asked = spec.scheduling
    queue = asked.queue_name or next(iter(given.queue_names), None)
    # Without a queue, Kueue's fields of the runtime have no effect.
    priorities, topology = (given.workload_priority_class_names, given.topology) if queue else ([], None)
    scheduling: dict[str, Any] = {
        "node_selector": {**asked.node_selector, **given.node_selector},
        "tolerations": given.tolerations,
        "priority_class_name": asked.priority_class_name or next(iter(given.priority_class_names), None),
        "queue_name": queue,
        "workload_priority_class_name": asked.workload_priority_class_name or next(iter(priorities), None),
        "topology": asked.topology or topology,
    }
    resources = {name: value for name, value in given.resources if value is not None and name in Resources.model_fields}
    update = {
        "image": spec.image or given.image,
        "resources": spec.resources.model_copy(update=resources),
        "scheduling": spec.scheduling.model_copy(update=scheduling),
        "volumes": spec.volumes.model_copy(update={"cache": spec.volumes.cache or given.volumes.cache}),
    }
    return workload.model_copy(update={"spec": spec.model_copy(update=update)})
