"""Names and labels of the objects that the operator creates. Builders set them; other modules find objects by them."""

from typing import NamedTuple

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.dreamboothscene import SCENE_KIND, SCENE_SUFFIX
from dreambooth_api.job import KIND, DreamBoothJob
from dreambooth_operator.objects.observed import Object

OPERATOR = "dreambooth-operator"
"""Manager of the objects (`app.kubernetes.io/managed-by`)."""
TRAINER = "dreambooth-trainer"
"""Application that runs in the pods (`app.kubernetes.io/name`)."""

MANAGER_LENGTH = 128
"""Longest name of a field manager that the API server accepts."""

LABEL_JOB = "dreambooth.io/job"
"""Name of the DreamBoothJob; on every object that is created for it."""
LABEL_SCENE = "dreambooth.io/scene"
"""Name of the DreamBoothScene; on every object that is created for it."""
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

ANNOTATION_OUTPUT = "dreambooth.io/output"
"""Where the pods write, as claim and path with a slash between them; on Jobs. The claim may follow from an object that is deleted
meanwhile."""
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


class Labels(NamedTuple):
    """The keys of the labels by which the objects of a kind of workload are found."""

    name: str
    """Name of the workload; on every object that is created for it."""
    uid: str
    """UID of the workload, which distinguishes it from an earlier one with the same name; on Jobs and pods."""


LABELS = {
    KIND: Labels(LABEL_JOB, f"{LABEL_JOB}-uid"),
    SCENE_KIND: Labels(LABEL_SCENE, f"{LABEL_SCENE}-uid"),
}
"""By the kind of the workload."""


def config_map(workload: Workload) -> str:
    """Name of the ConfigMap with the settings of the trainer."""
    return f"{_stem(workload)}-config"


def claim(job: DreamBoothJob) -> str:
    """Name of the PersistentVolumeClaim that is created for the output."""
    return job.metadata.name


def service(workload: Workload) -> str:
    """Name of the headless Service through which the pods of several nodes find each other."""
    return _stem(workload)


def network_policy(workload: Workload) -> str:
    """Name of the NetworkPolicy that selects the pods."""
    return _stem(workload)


def attempt(workload: Workload, number: int) -> str:
    """Name of the Job of an attempt."""
    return f"{_stem(workload)}-{number}"


def _stem(workload: Workload) -> str:
    return workload.metadata.name + (SCENE_SUFFIX if workload.kind == SCENE_KIND else "")


def selector(owner: Object) -> dict[str, str]:
    """Labels that select the pods of a workload, but not those of an earlier one with the same name."""
    keys = LABELS[owner["kind"]]
    return {keys.name: owner["metadata"]["name"], keys.uid: owner["metadata"]["uid"]}


def owner_label(item: Object, kind: str) -> str | None:
    """The name of the workload of a kind to which an object belongs by its label."""
    name: str | None = item["metadata"].get("labels", {}).get(LABELS[kind].name)
    return name


def labels(owner: Object) -> dict[str, str]:
    """Labels of every object that is created for a workload."""
    name = owner["metadata"]["name"]
    return {
        "app.kubernetes.io/name": TRAINER,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "trainer",
        "app.kubernetes.io/managed-by": OPERATOR,
        LABELS[owner["kind"]].name: name,
    }
