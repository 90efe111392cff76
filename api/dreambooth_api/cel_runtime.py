"""What the API server refuses of a DreamBoothRuntime, in the Common Expression Language.

Read by `crd.py`. The operator validates again with `runtime_rules.py`.
"""

import json
from collections.abc import Mapping, Sequence

from dreambooth_api.cel_parts import GPU_RESOURCE, LABELS, TOLERATION, TOPOLOGY, Rule
from dreambooth_api.runtime_pods import OWN_VARIABLES, RESERVED_KEYS
from dreambooth_api.sections import Resources

_RESERVED = Rule(
    f"self.all(key, !key.matches(r'^({RESERVED_KEYS})$'))",
    "keys of dreambooth.io, kueue.x-k8s.io, app.kubernetes.io and batch.kubernetes.io are reserved for the operator, the Job "
    "controller and Kueue. Remove them",
)
_VALUES = "(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)"

_NODES = "spec.affinity.nodeAffinity"
_NODE_REQUIREMENT = [
    Rule(
        "self.operator in ['Gt', 'Lt'] ? size(self.values) == 1 && self.values[0].matches('^[0-9]+$') : " + _VALUES,
        "values must be given for the operators In and NotIn, be one whole number for Gt and Lt, and not be given for others",
    ),
]

RUNTIME_RULES: Mapping[str, Sequence[Rule]] = {
    "": [
        Rule(
            "size(self.metadata.name) <= 63",
            "metadata.name must have at most 63 characters, since it is a label of what runs with it",
        )
    ],
    "spec.namespaceSelector.matchExpressions[]": [
        Rule(_VALUES, "values must be given for the operators In and NotIn, and for no other"),
    ],
    "spec.resources": [
        Rule(
            "!has(self.sharedMemory) || !has(self.memory) || "
            "quantity(self.sharedMemory).compareTo(quantity(self.memory)) <= 0",
            "sharedMemory must not be more than memory, which it counts towards",
        ),
        Rule(
            "!has(self.cpuLimit) || !has(self.cpu) || quantity(self.cpu).compareTo(quantity(self.cpuLimit)) <= 0",
            "cpu must not be more than cpuLimit",
        ),
        Rule(
            f"!((has(self.gpuResourceName) ? self.gpuResourceName : '{Resources().gpu_resource_name}') in self.extended)",
            "extended must not have the resource that counts the GPUs, of which resources.gpusPerNode is the number. Remove it",
        ),
        GPU_RESOURCE,
    ],
    "spec.resources.extended": [
        *LABELS,
        Rule(
            "self.all(key, key.contains('/') && !key.contains('kubernetes.io/') && !key.startsWith('requests.'))",
            "each key must be an extended resource, such as rdma/hca",
        ),
    ],
    "spec.podLabels": [*LABELS, _RESERVED],
    "spec.podAnnotations": [*LABELS, _RESERVED],
    "spec.env": [
        Rule(
            "self.all(one, self.exists_one(other, other.name == one.name))",
            "each variable must be set once. Remove one of them",
        ),
    ],
    "spec.env[]": [
        Rule(
            f"!(self.name in {json.dumps(OWN_VARIABLES)})",
            f"the operator sets {', '.join(OWN_VARIABLES)}. Remove the variable",
        ),
    ],
    "spec.topology": TOPOLOGY,
    "spec.nodeSelector": LABELS,
    "spec.tolerations[]": TOLERATION,
    f"{_NODES}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[].matchExpressions[]": _NODE_REQUIREMENT,
    f"{_NODES}.preferredDuringSchedulingIgnoredDuringExecution[].preference.matchExpressions[]": _NODE_REQUIREMENT,
}
"""By the path of a field of a DreamBoothRuntime: what must hold for it."""
