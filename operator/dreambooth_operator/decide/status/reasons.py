"""Every reason that a condition or an Event of a DreamBoothJob may have, beside what it says: what happened, what to do.

    Reason("Unschedulable", "Pending", "Warning", "...{detail}...")
            the word         phase      Event      the message

Used by policies and by the rest of `status/`, which fill in the facts. Classes of failure are the trainer's own
(`dreambooth_api.failures`), whose messages say what to do, beside those that only the cluster can tell.
"""

from typing import Literal, NamedTuple

from dreambooth_api.status import JobPhase

LENGTH = 1000
"""Longest message, in characters."""


class Finding(NamedTuple):
    """What was found about a job: which reason, with its facts."""

    word: str
    """CamelCase word: `reason` of conditions and Events."""
    phase: JobPhase
    """Where the job stands by it."""
    event: Literal["Normal", "Warning"] | None
    """Type of the Event that announces it; None: it deserves none."""
    message: str
    """What happened and what to do."""


class Reason(NamedTuple):
    """A reason before its facts are known."""

    word: str
    phase: JobPhase
    event: Literal["Normal", "Warning"] | None
    message: str

    def __call__(self, **facts: object) -> Finding:
        """The finding that the facts make of it. The fact `detail`, in somebody else's words, becomes a sentence."""
        said = {key: sentence(str(fact)) if key == "detail" else fact for key, fact in facts.items()}
        return Finding(self.word, self.phase, self.event, clean(self.message.format_map(said)))


def clean(text: str, length: int = LENGTH) -> str:
    """A text of unknown origin as one line of printable characters; one that is too long loses its middle."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    tail = length // 3
    return line if len(line) <= length else f"{line[: length - tail - 5]} ... {line[-tail:]}"


def sentence(text: str) -> str:
    """A text that ends as sentences do."""
    text = clean(text)
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


# Of specs.
SOUND = Reason("Sound", "Pending", None, "The spec is sound.")
INVALID_CONFIG = Reason("InvalidConfig", "Failed", "Warning", "{problems} Delete the job and apply a corrected one.")

# Before an attempt.
RECHECKED = "The job starts by itself as soon as that is done."
RUNTIME_NOT_FOUND = Reason(
    "RuntimeNotFound",
    "Pending",
    "Warning",
    "DreamBoothRuntime {name}, which spec.runtime names, does not exist. Ask an administrator for it, or delete the job and "
    "apply it with one of kubectl get dreamboothruntimes. " + RECHECKED,
)
RUNTIME_FORBIDDEN = Reason(
    "RuntimeForbidden",
    "Pending",
    "Warning",
    "Namespace {namespace} may not use DreamBoothRuntime {name}, which spec.runtime names: its labels are not those of the "
    "runtime's namespaceSelector. Ask an administrator to label it, or delete the job and apply it with another runtime. "
    + RECHECKED,
)
RUNTIME_NOT_NAMED = Reason(
    "RuntimeNotNamed",
    "Pending",
    "Warning",
    "spec.runtime names none, and no default runtime serves namespace {namespace}. Delete the job and apply it with one of "
    "these: {names}; or ask an administrator to mark one with spec.default. " + RECHECKED,
)
RUNTIME_UNSOUND = Reason(
    "RuntimeUnsound",
    "Pending",
    "Warning",
    "DreamBoothRuntime {name} says what this operator does not understand: {problems} Ask an administrator to mend it, or to "
    "upgrade the operator. " + RECHECKED,
)
CONFIG_MAP_NOT_FOUND = Reason(
    "ConfigMapNotFound",
    "Pending",
    "Warning",
    "ConfigMap {name}, which spec.{field} names, does not exist in namespace {namespace}. Create it there. "
    + RECHECKED,
)
CLAIM_NOT_FOUND = Reason(
    "ClaimNotFound",
    "Pending",
    "Warning",
    "PersistentVolumeClaim {name}, which spec.{field} names, does not exist in namespace {namespace}. Create it there. "
    + RECHECKED,
)
CLAIM_LOST = Reason(
    "ClaimLost",
    "Pending",
    "Warning",
    "PersistentVolumeClaim {name} has lost its volume. Delete it and create it anew, or restore the volume. "
    + RECHECKED,
)
BEING_DELETED = Reason(
    "BeingDeleted",
    "Pending",
    "Warning",
    "{kind} {name} is being deleted, and the job can't start before it is gone. If it stays, look for what uses it: "
    "kubectl describe {kind} {name}.",
)
NAME_TAKEN = Reason(
    "NameTaken",
    "Pending",
    "Warning",
    "{kind} {name} belongs to {owner}, and this job needs one of the same name. Delete it, or give this job another name.",
)
LEFTOVERS = Reason(
    "WaitingForLeftovers",
    "Pending",
    "Normal",
    "{leftovers} of an earlier start must be gone before the next one may write to the same folder. If it stays for more "
    "than five minutes, delete it by hand.",
)
REFUSED = Reason(
    "Refused",
    "Pending",
    "Warning",
    "The API server refused {what}: {detail} It is tried again until it is accepted.",
)
QUOTA_EXCEEDED = Reason(
    "QuotaExceeded",
    "Pending",
    "Warning",
    "A ResourceQuota of the namespace has no room for {what}: {detail} Wait until others have ended, ask an administrator for a "
    "larger quota, or delete the job and apply one that asks for less (spec.resources, spec.volumes). " + RECHECKED,
)
QUOTA_UNSPECIFIED = Reason(
    "QuotaUnspecified",
    "Pending",
    "Warning",
    "A ResourceQuota of the namespace counts what {what} does not say: {detail} Ask an administrator for a LimitRange with "
    "defaults of it, or for a quota of requests alone. " + RECHECKED,
)
LIMIT_RANGE_EXCEEDED = Reason(
    "LimitRangeExceeded",
    "Pending",
    "Warning",
    "A LimitRange of the namespace does not allow {what}: {detail} Delete the job and apply one within these bounds "
    "(spec.resources, spec.volumes), or ask an administrator for others. " + RECHECKED,
)
BACK_OFF = Reason(
    "BackOff",
    "Retrying",
    "Normal",
    "Attempt {number} ended by {reason}: {detail} Attempt {next} starts at {time} and goes on from the last checkpoint.",
)

# Of a running attempt.
STARTING = Reason("Starting", "Starting", "Normal", "Job {job} of attempt {number} starts its pods.")
QUEUED = Reason("Queued", "Queued", "Normal", "Job {job} waits until Kueue admits it from queue {queue}.")
HELD = Reason(
    "HeldByHand",
    "Queued",
    "Warning",
    "Job {job} was suspended by somebody else. To go on: kubectl patch job {job} --type merge -p "
    """'{{"spec":{{"suspend":false}}}}'; to suspend a DreamBoothJob, set its spec.suspend.""",
)
NO_PODS = Reason(
    "NoPods",
    "Starting",
    "Warning",
    "Job {job} has no pods after {seconds} seconds: a quota or an admission policy may forbid them. The Events of the Job "
    "say which: kubectl describe job {job}.",
)
UNSCHEDULABLE = Reason(
    "Unschedulable",
    "Pending",
    "Warning",
    "No node can take pod {pod}: {detail} Free or add such a node, or apply a job that asks for less (spec.resources, "
    "spec.scheduling).",
)
IMAGE_PULL_FAILED = Reason(
    "ImagePullFailed",
    "Starting",
    "Warning",
    "The image {image} of pod {pod} can't be pulled: {detail} Check its name, the registry and the pull secrets.",
)
CONTAINER_CONFIG_ERROR = Reason(
    "ContainerConfigError",
    "Starting",
    "Warning",
    "The container of pod {pod} can't be made: {detail} Create the Secret and the key that spec.model.tokenSecret names.",
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
    "Volumes of pod {pod} can't be mounted: {detail} Check the claims and ConfigMaps that the spec names.",
)
CREATING = Reason(
    "ContainerCreating",
    "Starting",
    "Normal",
    "The node prepares pod {pod} for longer than usual: it may be pulling a large image or waiting for a volume. See kubectl "
    "describe pod {pod}.",
)
TRAINING = Reason("Training", "Running", "Normal", "Attempt {number} runs in {pods}.")
PROGRESS_REFUSED = Reason(
    "ProgressRefused",
    "Running",
    "Warning",
    "Attempt {number} runs in {pods}, but what it answers about its progress is not believed: {detail} The training goes on; "
    "only its progress is unknown. Use a trainer image of the operator's version.",
)
TRAINS = {TRAINING.word, PROGRESS_REFUSED.word}
"""Reasons of an attempt whose pods all run."""
ENDING = Reason("Ending", "Running", None, "The pods of attempt {number} have ended; Job {job} is being closed.")
STOPPING = Reason(
    "Stopping",
    "Starting",
    "Normal",
    "Pod {pod} was told to stop; it saves its state, and another one goes on from there.",
)
NODE_SILENT = Reason(
    "NodeSilent",
    "Starting",
    "Warning",
    "Pod {pod} should have ended, but its node {node} does not say so, and a second pod must not write to the same folder. "
    "If the node is gone: kubectl delete node {node}.",
)

# Disruptions: the cluster took a pod away. `retries` doesn't count them.
GOES_ON = "The training goes on from its last checkpoint."
EVICTED = Reason("Evicted", "Retrying", "Warning", "Pod {pod} was evicted: {detail} " + GOES_ON)
PREEMPTED = Reason(
    "Preempted", "Retrying", "Warning", "Pod {pod} made room for a more important one: {detail} " + GOES_ON
)
NODE_LOST = Reason("NodeLost", "Retrying", "Warning", "Pod {pod} was lost with its node: {detail} " + GOES_ON)
DISRUPTED = Reason("Disrupted", "Retrying", "Warning", "The cluster ended pod {pod}: {detail} " + GOES_ON)
DISRUPTIONS = {
    "EvictionByEvictionAPI": EVICTED,
    "TerminationByKubelet": EVICTED,
    "PreemptionByScheduler": PREEMPTED,
    "DeletionByTaintManager": NODE_LOST,
    "DeletionByPodGC": NODE_LOST,
}
"""By the reason of a pod's condition DisruptionTarget."""

# Ends of an attempt that only the cluster can tell; the trainer tells the others itself.
OUT_OF_MEMORY = (
    "The container used more memory than its limit of {memory} and was killed. Raise spec.resources.memory, or lower "
    "training.batchSize or prior.batchSize."
)
KILLED = "The trainer was killed (exit code {code})."
NO_WORD = "The trainer ended with exit code {code} and left no message. Its log says more: kubectl logs {pod}."
REJECTED = "Pod {pod} failed before its container ran: {detail} See kubectl describe pod {pod}."
NEVER_RAN = "Pod {pod} was deleted before its container ran."
DELETED = "Pod {pod} was deleted."
POD_GONE = "The pods are gone; the Job says: {detail}"

# Ends of a job.
COMPLETE = Reason("Complete", "Complete", "Normal", "The model is in folder {path} of claim {claim}.")
RETRIES_USED_UP = "{detail} That was failure {failures}, and spec.retries allows {retries}."
DEADLINE_EXCEEDED = Reason(
    "DeadlineExceeded",
    "Failed",
    "Warning",
    "The job ran longer than {field} ({seconds}) allows. Apply a job with a longer deadline or another "
    "runtime, and with the same output: it goes on from the last checkpoint.",
)

# Suspension.
SUSPENDED = Reason(
    "Suspended",
    "Suspended",
    "Normal",
    "spec.suspend is set: pods that run save their state and end. Set it to false, and the job goes on.",
)
RESUMED = Reason("Resumed", "Pending", None, "spec.suspend is false.")


def failed(word: str, message: str) -> Finding:
    """The end of a job by a class of failure."""
    return Finding(word, "Failed", "Warning", clean(message))
