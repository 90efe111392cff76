"""Builds the pod template: one container with the trainer, according to the `restricted` Pod Security Standard."""

from collections.abc import Mapping
from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.quantities import amount
from dreambooth_api.runtime import DreamBoothRuntimeSpec, RuntimeResources
from dreambooth_operator.decide.builders.volumes import mounts, volumes
from dreambooth_operator.decide.programs.paths import CA_FILE, CONFIG
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.objects import names
from dreambooth_operator.settings import Settings

USER = 65532
"""User ID and group ID of the trainer; also the `fsGroup` of its volumes."""
_FIXED_USER = {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
GRACE_SECONDS = 300
"""Time for the trainer to save a checkpoint after SIGTERM."""
TERMINATION_LOG = "/dev/termination-log"
HOSTNAME = "kubernetes.io/hostname"
"""Label that distinguishes nodes."""
MASTER_PORT = 29500
"""Port of the first pod where the processes of several nodes rendezvous; the default of torchrun."""


def build_pod_template(
    workload: Workload,
    program: Program,
    attempt: str,
    labels: dict[str, str],
    runtime: DreamBoothRuntimeSpec,
    settings: Settings,
) -> dict[str, Any]:
    """The pod template of an attempt.

    Args:
        workload: the workload, with the fields that its runtime sets.
        program: what its pods run.
        attempt: name of the Job.
        labels: labels of the pods.
        runtime: the spec of the runtime.
        settings: the settings of the operator.
    """
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # PID 1 ignores SIGTERM until it installs a handler, so a trainer that is still importing libraries would not stop.
        "shareProcessNamespace": True,
        "securityContext": {
            "runAsNonRoot": True,
            **(_FIXED_USER if runtime.pod_user == "Fixed" else {}),
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": volumes(workload, program, runtime.ca_bundle),
        "containers": [_container(workload, program, attempt, runtime, settings)],
    }
    scheduling = workload.spec.scheduling
    optional = {
        "subdomain": names.service(workload) if workload.spec.resources.nodes > 1 else None,
        "imagePullSecrets": [{"name": name} for name in runtime.image_pull_secret_names or settings.image_pull_secrets],
        "schedulerName": runtime.scheduler_name,
        "runtimeClassName": runtime.runtime_class_name,
        "nodeSelector": scheduling.node_selector,
        "tolerations": [one.model_dump(by_alias=True, exclude_none=True) for one in scheduling.tolerations],
        "affinity": runtime.affinity and runtime.affinity.model_dump(by_alias=True, exclude_none=True),
        "priorityClassName": scheduling.priority_class_name,
        "topologySpreadConstraints": _spread(workload, labels),
    }
    metadata: dict[str, Any] = {"labels": {**runtime.pod_labels, **labels}}
    if annotations := {**runtime.pod_annotations, **_topology(workload)}:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec | {key: value for key, value in optional.items() if value}}


def _topology(workload: Workload) -> dict[str, str]:
    """The annotations by which Kueue places the pods."""
    topology = workload.spec.scheduling.topology
    levels = topology.model_dump(exclude_none=True) if topology else {}
    return {names.ANNOTATION_TOPOLOGY.format(mode=mode): level for mode, level in levels.items()}


def _spread(workload: Workload, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Prefers another node for each pod of an attempt: pods of one node would share its network, and would fail with it."""
    if workload.spec.resources.nodes == 1:
        return []
    keys = names.LABELS[workload.kind].uid, names.LABEL_ATTEMPT
    own = {key: labels[key] for key in keys}
    constraint = {"maxSkew": 1, "topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway"}
    return [constraint | {"labelSelector": {"matchLabels": own}}]


def _container(
    workload: Workload, program: Program, attempt: str, runtime: DreamBoothRuntimeSpec, settings: Settings
) -> dict[str, Any]:
    container = {
        "name": names.CONTAINER,
        "image": workload.spec.image or settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": _command(workload, program, attempt, settings.trainer_port),
        "env": _environment(workload, program, runtime),
        "ports": [{"name": names.PORT, "containerPort": settings.trainer_port}],
        "resources": _resources(workload, runtime.resources),
        "volumeMounts": mounts(program, runtime.ca_bundle),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    # With several nodes, only the pod of the main process serves /healthz, but all pods share this template.
    return container | (_probes() if workload.spec.resources.nodes == 1 else {})


def _command(workload: Workload, program: Program, attempt: str, port: int) -> list[str]:
    served = ["--port", str(port), "--termination-log", TERMINATION_LOG]
    arguments = ["--config", f"{CONFIG}/{program.file}", *program.arguments, *served]
    launch = _launch(workload, attempt) if program.launched else []
    return ["python", "-m", program.module, *map(_literal, [*launch, *arguments])]


def _launch(workload: Workload, attempt: str) -> list[str]:
    """The arguments of the launcher."""
    nodes = workload.spec.resources.nodes
    master = [] if nodes == 1 else ["--master", f"{attempt}-0.{names.service(workload)}:{MASTER_PORT}"]
    return ["--nodes", str(nodes), "--processes", str(_processes(workload)), *master, "--"]


def _environment(workload: Workload, program: Program, runtime: DreamBoothRuntimeSpec) -> list[dict[str, Any]]:
    threads = amount(workload.spec.resources.cpu) / _processes(workload)
    # The root file system is read-only and the user has no entry in /etc/passwd, so libraries need HOME and USER.
    values = {
        "HOME": "/tmp",
        "USER": "dreambooth",
        "XDG_CACHE_HOME": "/tmp/.cache",
        "HF_HOME": f"{program.cache}/huggingface",
        "OMP_NUM_THREADS": str(max(1, int(threads))),
    }
    if runtime.ca_bundle:
        values |= dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), CA_FILE)
    values |= {one.name: one.value for one in runtime.env}
    environment: list[dict[str, Any]] = [{"name": name, "value": _literal(value)} for name, value in values.items()]
    for one in program.secrets:
        # An administrator may have set the address of a store.
        if one.variable in values:
            continue
        reference = {"name": one.secret, "key": one.key, **({"optional": True} if one.optional else {})}
        environment.append({"name": one.variable, "valueFrom": {"secretKeyRef": reference}})
    return environment


def _literal(text: str) -> str:
    """Escapes variable references: Kubernetes would replace `$(HF_TOKEN)` in an argument with the token."""
    return text.replace("$", "$$")


def _resources(workload: Workload, runtime: RuntimeResources) -> dict[str, Any]:
    resources = workload.spec.resources
    limits = {"memory": resources.memory}
    if resources.ephemeral_storage is not None:
        limits["ephemeral-storage"] = resources.ephemeral_storage
    limits |= {name: str(number) for name, number in runtime.extended.items()}
    if resources.gpus_per_node:
        limits[resources.gpu_resource_name] = str(resources.gpus_per_node)
    cpu = {"cpu": runtime.cpu_limit} if runtime.cpu_limit is not None else {}
    return {"requests": {"cpu": resources.cpu, **limits}, "limits": {**cpu, **limits}}


def _probes() -> dict[str, Any]:
    """Probes that end a trainer after 20 minutes without progress: `/healthz` fails after 10, the liveness probe 10 later."""
    probe = {"httpGet": {"path": "/healthz", "port": names.PORT}, "timeoutSeconds": 10}
    return {
        "startupProbe": probe | {"periodSeconds": 10, "failureThreshold": 60},
        "livenessProbe": probe | {"periodSeconds": 60, "failureThreshold": 10, "terminationGracePeriodSeconds": 60},
    }


def _processes(workload: Workload) -> int:
    return max(1, workload.spec.resources.gpus_per_node)
