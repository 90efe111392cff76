"""Names and labels of all that the operator makes: by builders, who write them, and by whoever finds objects by them."""

OPERATOR = "dreambooth-operator"
"""Who manages the objects (`app.kubernetes.io/managed-by`)."""
TRAINER = "dreambooth-trainer"
"""What the pods are (`app.kubernetes.io/name`)."""

LABEL_JOB = "dreambooth.io/job"
"""Name of the DreamBoothJob; on everything that is its own."""
LABEL_OWNER = "dreambooth.io/job-uid"
"""UID of the DreamBoothJob, which tells it from an earlier one of the name; on Jobs and pods."""
LABEL_ATTEMPT = "dreambooth.io/attempt"
"""Number of the attempt; on Jobs and pods."""
LABEL_RUNTIME = "dreambooth.io/runtime"
"""Name of the DreamBoothRuntime; on Jobs and pods."""
LABEL_INDEX = "batch.kubernetes.io/job-completion-index"
"""Number of a pod in its Job, set by Kubernetes; pod 0 runs the main process."""
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's LocalQueue that admits a Job."""

ANNOTATION_DEADLINE = "dreambooth.io/active-deadline-seconds"
"""The runtime's limit on `activeDeadlineSeconds` when the attempt was made; on Jobs."""

CONTAINER = "trainer"
"""The container of the pods."""
PORT = "metrics"
"""Port of `/progress`, `/metrics` and `/healthz`."""


def config_map(job: str) -> str:
    """The ConfigMap with the settings of the trainer."""
    return f"{job}-config"


def claim(job: str) -> str:
    """The claim that is created for the output."""
    return job


def service(job: str) -> str:
    """The headless Service by which pods of several nodes find each other."""
    return job


def network_policy(job: str) -> str:
    """The NetworkPolicy around the pods."""
    return job


def attempt(job: str, number: int) -> str:
    """The Job of an attempt."""
    return f"{job}-{number}"


def selector(job: str, uid: str) -> dict[str, str]:
    """Labels by which the pods of a DreamBoothJob are found, and of no earlier one of its name."""
    return {LABEL_JOB: job, LABEL_OWNER: uid}


def labels(job: str) -> dict[str, str]:
    """Labels of everything that belongs to a DreamBoothJob."""
    return {
        "app.kubernetes.io/name": TRAINER,
        "app.kubernetes.io/instance": job,
        "app.kubernetes.io/component": "trainer",
        "app.kubernetes.io/managed-by": OPERATOR,
        LABEL_JOB: job,
    }
