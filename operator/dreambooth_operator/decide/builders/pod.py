"""The template of the pods: the trainer in one container, restricted as Pod Security's `restricted` level asks."""

from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_api.quantities import amount
from dreambooth_operator.decide.builders.volumes import CONFIG, CONFIG_FILE, cache_folder, mounts, run_folder, volumes
from dreambooth_operator.objects import names
from dreambooth_operator.settings import Settings

USER = 65532
"""User and group of the trainer; volumes that support it are given to this group."""
GRACE_SECONDS = 300
"""Time to save the state after SIGTERM."""
TERMINATION_LOG = "/dev/termination-log"
MASTER_PORT = 29500
"""Where the pods of several nodes meet: at the first, on torchrun's usual port."""


def build_pod_template(job: DreamBoothJob, attempt: str, labels: dict[str, str], settings: Settings) -> dict[str, Any]:
    """The pod template of an attempt.

    Args:
        job: the job.
        attempt: name of the attempt's Job.
        labels: labels of the pods.
        settings: what the administrator decides.
    """
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # As process 1 of its own namespace, a trainer that has yet to load its libraries would not even notice SIGTERM.
        "shareProcessNamespace": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": volumes(job),
        "containers": [_container(job, attempt, settings)],
    }
    scheduling = job.spec.scheduling
    optional = {
        "subdomain": names.service(job.metadata.name) if job.spec.resources.nodes > 1 else None,
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "nodeSelector": scheduling.node_selector,
        "tolerations": [one.model_dump(by_alias=True, exclude_none=True) for one in scheduling.tolerations],
        "priorityClassName": scheduling.priority_class_name,
    }
    return {"metadata": {"labels": labels}, "spec": spec | {key: value for key, value in optional.items() if value}}


def _container(job: DreamBoothJob, attempt: str, settings: Settings) -> dict[str, Any]:
    container = {
        "name": names.CONTAINER,
        "image": job.spec.image or settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": _command(job, attempt, settings.trainer_port),
        "env": _environment(job),
        "ports": [{"name": names.PORT, "containerPort": settings.trainer_port}],
        "resources": _resources(job),
        "volumeMounts": mounts(job),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    # Only the main process answers, and all pods of a Job are of one template.
    return container | (_probes() if job.spec.resources.nodes == 1 else {})


def _command(job: DreamBoothJob, attempt: str, port: int) -> list[str]:
    nodes = job.spec.resources.nodes
    launch = ["--nodes", str(nodes), "--processes", str(_processes(job))]
    if nodes > 1:
        launch += ["--master", f"{attempt}-0.{names.service(job.metadata.name)}:{MASTER_PORT}"]
    trainer = {
        "--config": f"{CONFIG}/{CONFIG_FILE}",
        "--output": run_folder(job),
        "--cache": cache_folder(job),
        "--port": str(port),
        "--termination-log": TERMINATION_LOG,
    }
    arguments = [word for option in trainer.items() for word in option]
    return ["python", "-m", "dreambooth_trainer.launch", *map(_literal, [*launch, "--", *arguments])]


def _environment(job: DreamBoothJob) -> list[dict[str, Any]]:
    threads = amount(job.spec.resources.cpu) / _processes(job)
    # The root is read-only and the user has no entry in /etc/passwd: libraries must be told where to keep things, and as whom.
    values = {
        "HOME": "/tmp",
        "USER": "dreambooth",
        "XDG_CACHE_HOME": "/tmp/.cache",
        "HF_HOME": f"{cache_folder(job)}/huggingface",
        "OMP_NUM_THREADS": str(max(1, int(threads))),
    }
    environment: list[dict[str, Any]] = [{"name": name, "value": _literal(value)} for name, value in values.items()]
    if secret := job.spec.model.token_secret:
        reference = {"name": secret.name, "key": secret.key}
        environment.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return environment


def _literal(text: str) -> str:
    """A text into which Kubernetes puts no variable's value: `$(HF_TOKEN)` in a path would be the token."""
    return text.replace("$", "$$")


def _resources(job: DreamBoothJob) -> dict[str, Any]:
    asked = job.spec.resources
    limits = {"memory": asked.memory}
    if asked.ephemeral_storage is not None:
        limits["ephemeral-storage"] = asked.ephemeral_storage
    if asked.gpus_per_node:
        limits[asked.gpu_resource_name] = str(asked.gpus_per_node)
    return {"requests": {"cpu": asked.cpu, **limits}, "limits": limits}


def _probes() -> dict[str, Any]:
    """Ends a trainer that has told nothing for twenty minutes: ten until it calls itself stale, and ten more."""
    answer = {"httpGet": {"path": "/healthz", "port": names.PORT}, "timeoutSeconds": 10}
    return {
        "startupProbe": answer | {"periodSeconds": 10, "failureThreshold": 60},
        "livenessProbe": answer | {"periodSeconds": 60, "failureThreshold": 10, "terminationGracePeriodSeconds": 60},
    }


def _processes(job: DreamBoothJob) -> int:
    return max(1, job.spec.resources.gpus_per_node)
