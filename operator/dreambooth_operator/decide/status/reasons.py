"""All reasons of conditions and Events of workloads, with their messages: what happened and what to do.

    Reason("Unschedulable", "Pending", "Warning",  "...{detail}...")
           reason           phase      event type  message

Policies and the rest of `status/` fill in the details. Failures that the trainer reports have their reasons in
`dreambooth_api.failures`; this module adds those that only the cluster reports.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from dreambooth_api.status import JobPhase

LENGTH = 1000
"""Longest message, in characters."""


class Finding(NamedTuple):
    """A finding about a workload: a reason with a complete message."""

    reason: str
    """`reason` of conditions and Events."""
    phase: JobPhase
    """`phase` of the status."""
    event_type: Literal["Normal", "Warning"] | None
    """Type of the Event about it; None: no Event."""
    message: str
    """What happened and what to do."""


class Reason(NamedTuple):
    """A reason with the template of its message."""

    reason: str
    phase: JobPhase
    event_type: Literal["Normal", "Warning"] | None
    message: str

    def __call__(self, **fields: object) -> Finding:
        """The finding with the fields filled in. The field `detail`, a message from elsewhere, becomes a sentence."""
        values = {key: sentence(str(value)) if key == "detail" else value for key, value in fields.items()}
        return Finding(self.reason, self.phase, self.event_type, clean(self.message.format_map(values)))


def clean(text: str, length: int = LENGTH) -> str:
    """An untrusted text as one line of printable characters; if it is too long, its middle is removed."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    tail = length // 3
    return line if len(line) <= length else f"{line[: length - tail - 5]} ... {line[-tail:]}"


def sentence(text: str) -> str:
    """A text that ends with a punctuation mark."""
    text = clean(text)
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


# The spec.
SOUND = Reason("Sound", "Pending", None, "The spec is valid.")
INVALID_CONFIG = Reason("InvalidConfig", "Failed", "Warning", "{problems} Delete it and apply a corrected manifest.")

NEWER_SPEC = Reason(
    "NewerSpec",
    "Pending",
    "Warning",
    "The spec is newer than this operator, which does not accept {fields}. Ask an administrator to upgrade the operator. No "
    "attempt starts until then; a running one continues.",
)

# Before an attempt.
RECHECKED = "It then starts automatically."
RUNTIME_NOT_FOUND = Reason(
    "RuntimeNotFound",
    "Pending",
    "Warning",
    "DreamBoothRuntime {name} (spec.runtime) does not exist. Ask an administrator to create it, or delete this object "
    "and apply it {alternative}. " + RECHECKED,
)
RUNTIME_FORBIDDEN = Reason(
    "RuntimeForbidden",
    "Pending",
    "Warning",
    "Namespace {namespace} may not use DreamBoothRuntime {name} (spec.runtime): its labels do not match the "
    "namespaceSelector of the runtime. Ask an administrator to label the namespace, or delete this object and apply "
    "it {alternative}. " + RECHECKED,
)
RUNTIME_NOT_NAMED = Reason(
    "RuntimeNotNamed",
    "Pending",
    "Warning",
    "spec.runtime is not set, and namespace {namespace} has no default runtime. Delete this object and apply it with "
    "one of these runtimes: {names}; or ask an administrator to set spec.default of one of them. " + RECHECKED,
)
RUNTIME_UNSOUND = Reason(
    "RuntimeUnsound",
    "Pending",
    "Warning",
    "DreamBoothRuntime {name} is not valid for this version of the operator: {problems} Ask an administrator to correct it, "
    "or to upgrade the operator. " + RECHECKED,
)
CONFIG_MAP_NOT_FOUND = Reason(
    "ConfigMapNotFound",
    "Pending",
    "Warning",
    "ConfigMap {name} (spec.{field}) does not exist in namespace {namespace}. Create it. " + RECHECKED,
)
CLAIM_NOT_FOUND = Reason(
    "ClaimNotFound",
    "Pending",
    "Warning",
    "PersistentVolumeClaim {name} (spec.{field}) does not exist in namespace {namespace}. Create it. " + RECHECKED,
)
CLAIM_LOST = Reason(
    "ClaimLost",
    "Pending",
    "Warning",
    "PersistentVolumeClaim {name} has lost its volume. Delete the claim and create it again, or ask an administrator "
    "to restore the volume. " + RECHECKED,
)
BEING_DELETED = Reason(
    "BeingDeleted",
    "Pending",
    "Warning",
    "{kind} {name} is being deleted. The next attempt starts after that. If the deletion does not finish, find out what "
    "blocks it: kubectl describe {kind} {name}.",
)
NAME_TAKEN = Reason(
    "NameTaken",
    "Pending",
    "Warning",
    "{kind} {name} already exists and {origin}. The name is needed: delete the {kind}, or apply this object under another name"
    "{alternative}.",
)
LEFTOVERS = Reason(
    "WaitingForLeftovers",
    "Pending",
    "Normal",
    "{leftovers} must end before the next attempt may write to the same folder. Delete what remains for more than five minutes.",
)
ORPHANS = Reason(
    "OrphanedObjects",
    "Pending",
    "Warning",
    "An earlier {kind} {name} was deleted without its objects, and this one needs their names. A running Job "
    "still works; wait for it if you need its result. Then delete them: kubectl delete {objects}. " + RECHECKED,
)
JOB_NOT_FOUND = Reason(
    "JobNotFound",
    "Pending",
    "Warning",
    "DreamBoothJob {name} (spec.jobName) does not exist in namespace {namespace}. Apply it; if it was deleted, with the same "
    "output. " + RECHECKED,
)
JOB_NOT_ENDED = Reason(
    "JobNotEnded",
    "Pending",
    "Normal",
    "DreamBoothJob {name} (spec.jobName) has not ended yet; its phase is {phase}. The scene starts when it is complete.",
)
CLAIM_NOT_SHARED = Reason(
    "ClaimNotShared",
    "Pending",
    "Normal",
    "DreamBoothJob {name} (spec.jobName) has not ended yet; its phase is {phase}. The scene starts then, not at step {step} "
    "(spec.step): only one node at a time can mount {claims}, whose access modes lack ReadWriteMany.",
)
STEP_NOT_SAVED = Reason(
    "StepNotSaved",
    "Pending",
    "Normal",
    "DreamBoothJob {name} (spec.jobName) has no checkpoint after step {step} (spec.step) yet; {newest}. The scene starts when it "
    "has one, or a later one, or has ended.",
)
JOB_NEVER_STARTED = Reason(
    "JobNeverStarted",
    "Pending",
    "Warning",
    "DreamBoothJob {name} (spec.jobName) failed before it started: {detail} The scene starts when a corrected one of the same "
    "name is complete.",
)
MISSING = {one.reason for one in (RUNTIME_NOT_FOUND, CONFIG_MAP_NOT_FOUND, CLAIM_NOT_FOUND, JOB_NOT_FOUND)}
"""Reasons of objects that do not exist."""
AWAITED = Reason("WaitingForObjects", "Pending", None, "{detail}")
REFUSED = Reason(
    "Refused",
    "Pending",
    "Warning",
    "The API server refused {what}: {detail} The operator retries until it succeeds.",
)
QUOTA_EXCEEDED = Reason(
    "QuotaExceeded",
    "Pending",
    "Warning",
    "A ResourceQuota of the namespace does not allow {what}: {detail} Wait until other workloads end, ask an administrator "
    "for a larger quota, or delete this object and apply it with smaller requests (spec.resources, spec.volumes). "
    + RECHECKED,
)
QUOTA_UNSPECIFIED = Reason(
    "QuotaUnspecified",
    "Pending",
    "Warning",
    "A ResourceQuota of the namespace covers a resource that {what} does not specify: {detail} Ask an administrator for a "
    "LimitRange with a default for it, or for a quota that covers only requests. " + RECHECKED,
)
LIMIT_RANGE_EXCEEDED = Reason(
    "LimitRangeExceeded",
    "Pending",
    "Warning",
    "A LimitRange of the namespace does not allow {what}: {detail} Delete this object and apply it with values within "
    "the limits (spec.resources, spec.volumes), or ask an administrator to change them. " + RECHECKED,
)
NAMESPACE_DELETED = Reason(
    "NamespaceTerminating",
    "Pending",
    None,
    "The namespace is being deleted, and this object with it: {what} can't be created any more. Kubernetes waits for pods "
    "that save a checkpoint.",
)
BACK_OFF = Reason(
    "BackOff",
    "Retrying",
    "Normal",
    "Attempt {number} failed with {reason}: {detail} Attempt {next} starts at {time} and resumes from the last saved state.",
)

# A running attempt.
STARTING = Reason("Starting", "Starting", "Normal", "Job {job} of attempt {number} is starting its pods.")
QUEUED = Reason("Queued", "Queued", "Normal", "Job {job} is waiting for admission by Kueue in queue {queue}.")
HELD = Reason(
    "HeldByHand",
    "Queued",
    "Warning",
    "Job {job} was suspended by another user or controller. To resume it: kubectl patch job {job} --type merge -p "
    """'{{"spec":{{"suspend":false}}}}'; to suspend a DreamBoothJob or DreamBoothScene, set its spec.suspend.""",
)
NO_PODS = Reason(
    "NoPods",
    "Starting",
    "Warning",
    "Job {job} has no pods after {seconds} seconds. A quota or an admission policy may forbid them. See the Events of the "
    "Job: kubectl describe job {job}.",
)
UNSCHEDULABLE = Reason(
    "Unschedulable",
    "Pending",
    "Warning",
    "Pod {pod} can't be scheduled: {detail} Wait for a suitable node, ask an administrator for one, or apply this object "
    "with smaller requests (spec.resources, spec.scheduling).",
)
CLAIM_UNBOUND = Reason(
    "ClaimUnbound",
    "Pending",
    "Warning",
    "Pod {pod} can't be scheduled, as PersistentVolumeClaim {claim} has no volume: {detail} Ask an administrator for a volume or "
    "for the StorageClass of the claim, or delete this object and the claim, and apply it with another claim or class "
    "(spec.volumes).",
)
IMAGE_PULL_FAILED = Reason(
    "ImagePullFailed",
    "Starting",
    "Warning",
    "The image {image} of pod {pod} can't be pulled: {detail} Check the name of the image, the registry and the image pull "
    "secrets.",
)
CONTAINER_CONFIG_ERROR = Reason(
    "ContainerConfigError",
    "Starting",
    "Warning",
    "The container of pod {pod} can't be created: {detail} Check that the Secrets and keys that the spec names "
    "exist, such as that of spec.model.tokenSecret.",
)
CONTAINER_START_FAILED = Reason(
    "ContainerStartFailed",
    "Starting",
    "Warning",
    "The container of pod {pod} can't be started: {detail} See kubectl describe pod {pod}.",
)
VOLUME_MOUNT_FAILED = Reason(
    "VolumeMountFailed",
    "Starting",
    "Warning",
    "Volumes of pod {pod} can't be mounted: {detail} Check the PersistentVolumeClaims and ConfigMaps in the spec. A volume that "
    "is attached to a lost node is detached after about six minutes.",
)
CREATING = Reason(
    "ContainerCreating",
    "Starting",
    "Normal",
    "The creation of pod {pod} takes longer than usual. The node may be pulling a large image or waiting for a volume. See "
    "kubectl describe pod {pod}.",
)
TRAINING = Reason("Training", "Running", "Normal", "Attempt {number} is running in {pods}.")
GENERATING = Reason("Generating", "Running", "Normal", "Attempt {number} is running in {pods}.")
PROGRESS_REFUSED = Reason(
    "ProgressRefused",
    "Running",
    "Warning",
    "Attempt {number} is running in {pods}, but the operator rejects its progress: {detail} The attempt continues; only its "
    "progress is unknown. Use a trainer image of the same version as the operator.",
)
RUNS = {TRAINING.reason, GENERATING.reason, PROGRESS_REFUSED.reason}
"""Reasons of an attempt whose pods are all running."""
ENDING = Reason("Ending", "Running", None, "The pods of attempt {number} have ended; Job {job} is about to end.")
STOPPING = Reason(
    "Stopping",
    "Starting",
    "Normal",
    "Pod {pod} is terminating and saves its state. Another pod will resume from it.",
)
NODE_SILENT = Reason(
    "NodeSilent",
    "Starting",
    "Warning",
    "Pod {pod} should have ended, but its node {node} does not confirm that, and a second pod must not write to the same "
    "folder. If the node does not return, ask an administrator to delete the Node object {node}: another pod then resumes.",
)

# Disruptions: the cluster removed a pod. They don't count for `retries`.
RESUMES = "The next pod resumes from the last saved state."
EVICTED = Reason("Evicted", "Retrying", "Warning", "Pod {pod} was evicted: {detail} " + RESUMES)
PREEMPTED = Reason(
    "Preempted", "Retrying", "Warning", "Pod {pod} was preempted by a pod with higher priority: {detail} " + RESUMES
)
NODE_LOST = Reason("NodeLost", "Retrying", "Warning", "Pod {pod} was lost with its node: {detail} " + RESUMES)
DISRUPTED = Reason("Disrupted", "Retrying", "Warning", "Pod {pod} was disrupted: {detail} " + RESUMES)
DISRUPTIONS = {
    "EvictionByEvictionAPI": EVICTED,
    "TerminationByKubelet": EVICTED,
    "PreemptionByScheduler": PREEMPTED,
    "DeletionByTaintManager": NODE_LOST,
    "DeletionByPodGC": NODE_LOST,
}
"""By the reason of the pod condition DisruptionTarget."""

# Ends of an attempt that the trainer can't report itself.
OUT_OF_MEMORY = (
    "The container exceeded its memory limit of {memory} and was killed. Increase spec.resources.memory, or reduce "
    "training.batchSize or prior.batchSize."
)
STORAGE_EXCEEDED = (
    "Pod {pod} exceeded a limit of its local storage and was evicted: {detail} Increase spec.resources.ephemeralStorage, or "
    "spec.resources.sharedMemory if the volume is shared-memory."
)
STOPPED_UNEXPECTEDLY = (
    "The trainer stopped with exit code 9 in {pods}, as after SIGTERM, but no pod was deleted or disrupted. A liveness probe "
    "that fails after 20 minutes without progress stops it in this way, and so does the reboot of a node. {detail}"
)
NO_PROGRESS = (
    "The trainer made no progress for {seconds} seconds (progressDeadlineSeconds). A process or the network between the pods may "
    "hang; a phase such as the download of a large model may also take longer."
)
KILLED = "The trainer was killed (exit code {code})."
NO_MESSAGE = "The trainer exited with code {code} without a termination message. See its log: kubectl logs {pod}."
REJECTED = "Pod {pod} failed before its container ran: {detail} See kubectl describe pod {pod}."
NEVER_RAN = "Pod {pod} was deleted before its container ran."
DELETED = "Pod {pod} was deleted."
POD_GONE = "The pods no longer exist. Message of the Job: {detail}"

# Ends of a workload.
COMPLETE = Reason("Complete", "Complete", "Normal", "The result is in folder {path} of claim {claim}.")
RETRIES_USED_UP = "{detail} That was failure {failures}, and spec.retries allows {retries}."
DEADLINE_EXCEEDED = Reason(
    "DeadlineExceeded",
    "Failed",
    "Warning",
    "{field} ({seconds}) was exceeded after the start of the first pod. Delete this object and apply it again with a longer "
    "deadline or another runtime, and with the same output: it resumes from the last saved state.",
)

PENDING_DEADLINE_EXCEEDED = Reason(
    "PendingDeadlineExceeded",
    "Failed",
    "Warning",
    "No pod started within {seconds} seconds (pendingDeadlineSeconds). Last reason: {detail} Resolve it, delete this object and "
    "apply it again.",
)

# Suspension.
SUSPENDED = Reason(
    "Suspended",
    "Suspended",
    "Normal",
    "spec.suspend is true. Running pods save their state and end. To resume, set it to false.",
)
RESUMED = Reason("Resumed", "Pending", None, "spec.suspend is false.")


def together(findings: Sequence[Finding]) -> Finding:
    """One finding with the messages of several; its reason is that of the first one."""
    first = findings[0]
    warns = any(one.event_type == "Warning" for one in findings)
    message = clean(" ".join(one.message for one in findings))
    return first._replace(event_type="Warning" if warns else first.event_type, message=message)


def failed(reason: str, message: str) -> Finding:
    """The finding that a workload has failed with a class of failure."""
    return Finding(reason, "Failed", "Warning", clean(message))
