"""Names and labels of the objects that the operator creates. Builders set them; other modules find objects by them."""

OPERATOR = "dreambooth-operator"
"""Manager of the objects (`app.kubernetes.io/managed-by`)."""
TRAINER = "dreambooth-trainer"
"""Application that runs in the pods (`app.kubernetes.io/name`)."""

MANAGER_LENGTH = 128
"""Longest name of a field manager that the API server accepts."""

LABEL_JOB = "dreambooth.io/job"
"""Name of the DreamBoothJob; on every object that is created for it."""
LABEL_UID = "dreambooth.io/job-uid"
"""UID of the DreamBoothJob, which distinguishes it from an earlier one with the same name; on Jobs and pods."""
LABEL_ATTEMPT = "dreambooth.io/attempt"
"""Number of the attempt; on Jobs and pods."""
LABEL_RUNTIME = "dreambooth.io/runtime"
"""Name of the DreamBoothRuntime; on Jobs and pods."""
LABEL_INDEX = "batch.kubernetes.io/job-completion-index"
"""Completion index of a pod, set by Kubernetes; the pod with index 0 runs the main process."""
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's LocalQueue to which a Job is submitted."""

LABEL_WORKLOAD_PRIORITY = "kueue.x-k8s.io/priority-class"
"""Kueue's WorkloadPriorityClass of a Job."""
ANNOTATION_TOPOLOGY = "kueue.x-k8s.io/podset-{mode}-topology"
"""The level of the topology that Kueue requires or prefers for the pods; on pod templates."""

ANNOTATION_DEADLINE = "dreambooth.io/active-deadline-seconds"
"""The runtime's limit on `activeDeadlineSeconds` when the attempt was created; on Jobs."""

ANNOTATION_PENDING = "dreambooth.io/pending-deadline-seconds"
"""The runtime's default of `pendingDeadlineSeconds` when the attempt was created; on Jobs."""
ANNOTATION_PROGRESS = "dreambooth.io/progress-deadline-seconds"
"""The runtime's default of `progressDeadlineSeconds` when the attempt was created; on Jobs."""

CONTAINER = "trainer"
"""Name of the trainer's container in the pods."""
PORT = "metrics"
"""Name of the port of `/progress`, `/metrics` and `/healthz`."""


def status_manager(namespace: str, lease: str) -> str:
    """The field manager of statuses: it names the Lease, so that operators notice others that serve the same DreamBoothJobs."""
    return f"{OPERATOR}/{namespace}/{lease}"[:MANAGER_LENGTH]


def config_map(name: str) -> str:
    """Name of the ConfigMap with the settings of the trainer."""
    return f"{name}-config"


def claim(name: str) -> str:
    """Name of the PersistentVolumeClaim that is created for the output."""
    return name


def service(name: str) -> str:
    """Name of the headless Service through which the pods of several nodes find each other."""
    return name


def network_policy(name: str) -> str:
    """Name of the NetworkPolicy that selects the pods."""
    return name


def attempt(name: str, number: int) -> str:
    """Name of the Job of an attempt."""
    return f"{name}-{number}"


def selector(name: str, uid: str) -> dict[str, str]:
    """Labels that select the pods of a DreamBoothJob, but not those of an earlier one with the same name."""
    return {LABEL_JOB: name, LABEL_UID: uid}


def labels(name: str) -> dict[str, str]:
    """Labels of every object that is created for a DreamBoothJob."""
    return {
        "app.kubernetes.io/name": TRAINER,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "trainer",
        "app.kubernetes.io/managed-by": OPERATOR,
        LABEL_JOB: name,
    }
