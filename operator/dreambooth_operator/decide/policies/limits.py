"""Checks a workload against the limits of its runtime. Used by `decide/decision.py` before an attempt starts."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.dreamboothscene import DreamBoothSceneSpec
from dreambooth_api.failures import Problem
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.quantities import amount
from dreambooth_api.runtime import Runtime, RuntimeLimits
from dreambooth_operator.decide.programs.program import Program


class Asked(NamedTuple):
    """What is asked of a runtime."""

    workload: Workload
    """The workload as it was applied."""
    program: Program
    """What its pods run."""
    resolution: int | None = None
    """Side in pixels of the pictures of a scene that gives no size, if it is known."""


def violations(asked: Asked, runtime: Runtime) -> list[Problem]:
    """The fields that the runtime does not allow, each with its value and a remedy. Without a runtime, only the image,
    the Secrets, the upload and the fields for Kueue are checked.

    Args:
        asked: what is asked for.
        runtime: its runtime.
    """
    rules = _RULES if runtime.name else [_image, _secrets, _upload, _queue_of_kueue]
    return [problem for rule in rules for problem in rule(asked, runtime)]


def _image(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    image = asked.workload.spec.image
    if image is not None and not is_allowed(image, runtime.spec.allowed_images):
        remedy = f"Remove it, or ask an administrator to add it to allowedImages of the {_title(runtime)}"
        yield Problem("spec.image", image, "is not among the images that the administrator allows", remedy)


def _secrets(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    allowed = runtime.spec.token_secret_names
    choice = f"Choose {' or '.join(allowed)}" if allowed else "Remove it"
    remedy = f"{choice}, or ask an administrator to add it to tokenSecretNames of the {_title(runtime)}"
    for field, name in dict.fromkeys((one.field, one.secret) for one in asked.program.secrets):
        if name not in allowed:
            yield Problem(f"spec.{field}", name, "is not among the Secrets that the administrator allows", remedy)


def _upload(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    url = asked.program.upload
    if url is not None and not is_allowed(url, runtime.spec.allowed_uploads):
        message = "is not among the destinations that the administrator allows"
        remedy = f"Choose another, or ask an administrator to add it to allowedUploads of the {_title(runtime)}"
        yield Problem("spec.output.upload.to", url, message, remedy)


def _pictures(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    remedy = (
        f"Use a ConfigMap or a claim, or ask an administrator to add it to allowedPhotoImages of the {_title(runtime)}"
    )
    for field, images in asked.program.pictures.values():
        image = images.image
        if image is not None and not is_allowed(image.reference, runtime.spec.allowed_photo_images):
            message = "is not among the images that the administrator allows"
            yield Problem(f"spec.{field}.image.reference", image.reference, message, remedy)


def _amounts(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    spec, limits, resources = asked.workload.spec, runtime.spec.limits, asked.workload.spec.resources
    gpus = resources.nodes * resources.gpus_per_node
    amounts: list[tuple[str, object, int | None, int | None]] = [
        *_amounts_of_the_kind(asked, limits),
        ("resources.nodes", resources.nodes, resources.nodes, limits.nodes),
        ("resources.gpusPerNode", resources.gpus_per_node, resources.gpus_per_node, limits.gpus_per_node),
        ("resources", f"{resources.nodes} nodes of {resources.gpus_per_node} GPUs", gpus, limits.gpus),
        (
            "activeDeadlineSeconds",
            spec.active_deadline_seconds,
            spec.active_deadline_seconds,
            limits.active_deadline_seconds,
        ),
    ]
    for field, value, number, limit in amounts:
        if number is not None and limit is not None and number > limit:
            message = f"exceeds the limit of the {_title(runtime)}: {limit}"
            yield Problem(f"spec.{field}", value, message, "Reduce it, or choose another runtime")


def _amounts_of_the_kind(asked: Asked, limits: RuntimeLimits) -> Iterator[tuple[str, object, int | None, int | None]]:
    """Field, value, number and limit of the amounts that one kind of workload has."""
    workload = asked.workload
    if isinstance(workload, DreamBoothJob):
        yield "training.steps", workload.spec.training.steps, workload.spec.training.steps, limits.steps
        return
    spec, side = workload.spec, asked.resolution
    yield "perPrompt", f"{spec.per_prompt} of {len(spec.prompts)} prompts", spec.pictures, limits.pictures
    width, height = (spec.size.width, spec.size.height) if spec.size else (side, side)
    if width and height:
        yield "size", f"{width} x {height}", width * height, limits.pixels


def _size(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    limit, spec = runtime.spec.limits.pixels, asked.workload.spec
    if limit is not None and isinstance(spec, DreamBoothSceneSpec) and not spec.size and not asked.resolution:
        message = f"is not given, and the {_title(runtime)} limits the pixels of a picture: {limit}"
        yield Problem("spec.size", None, message, "Give it")


def _cpu(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    cores, given = asked.workload.spec.resources.cpu, runtime.spec.resources
    if given.cpu is None and given.cpu_limit is not None and amount(cores) > amount(given.cpu_limit):
        message = f"exceeds the CPU limit of the {_title(runtime)}: {given.cpu_limit}"
        yield Problem("spec.resources.cpu", cores, message, "Reduce it, or choose another runtime")


def _node_selector(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    for key, value in asked.workload.spec.scheduling.node_selector.items():
        given = runtime.spec.node_selector.get(key, value)
        if given != value:
            message = f"conflicts with the {_title(runtime)}, which sets {given}"
            yield Problem(f"spec.scheduling.nodeSelector.{key}", value, message, "Remove it, or choose another runtime")


def _tolerations(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    for number, one in enumerate(asked.workload.spec.scheduling.tolerations):
        if one not in runtime.spec.tolerations:
            value = one.model_dump(by_alias=True, exclude_none=True)
            message = f"is not a toleration of the {_title(runtime)}"
            remedy = "Remove it, as pods get the tolerations of their runtime, or choose another runtime"
            yield Problem(f"spec.scheduling.tolerations[{number}]", value, message, remedy)


def _names(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    scheduling, given = asked.workload.spec.scheduling, runtime.spec
    queues = given.queue_names or [scheduling.queue_name or ""]
    names = [
        ("priorityClassName", scheduling.priority_class_name, given.priority_class_names),
        ("queueName", scheduling.queue_name, queues),
        (
            "workloadPriorityClassName",
            scheduling.workload_priority_class_name,
            given.workload_priority_class_names,
        ),
    ]
    for field, name, allowed in names:
        if name is not None and name not in allowed:
            message = f"is not allowed by the {_title(runtime)}"
            remedy = f"Choose {' or '.join(map(str, allowed))}" if allowed else "Remove it"
            yield Problem(f"spec.scheduling.{field}", name, message, remedy)


def _queue_of_kueue(asked: Asked, runtime: Runtime) -> Iterator[Problem]:
    scheduling = asked.workload.spec.scheduling
    if scheduling.queue_name or runtime.spec.queue_names:
        return
    given = scheduling.model_dump(by_alias=True, exclude_none=True)
    for field in ("workloadPriorityClassName", "topology"):
        if field in given:
            message = "has no effect, because no queue of Kueue is given"
            yield Problem(f"spec.scheduling.{field}", given[field], message, "Give scheduling.queueName, or remove it")


def is_allowed(image: str, allowed: Iterable[str]) -> bool:
    """Whether an image or a destination matches one of the patterns: references, or prefixes that end with `*`.

    A prefix with a final `/` matches all names below it. A prefix with a final `:` or `@` matches all tags or digests of a name,
    so `registry:*` does not match `registry:5000/name`.
    """
    return any(_matches(image, pattern) for pattern in allowed)


def _matches(image: str, pattern: str) -> bool:
    if not pattern.endswith("*"):
        return image == pattern
    prefix = pattern.removesuffix("*")
    rest = image.removeprefix(prefix)
    below = not prefix or prefix.endswith("/")
    return image.startswith(prefix) and rest != "" and (below or "/" not in rest) and ".." not in rest.split("/")


def _title(runtime: Runtime) -> str:
    return f"runtime {runtime.name}" if runtime.name else "operator"


_RULES: list[Callable[[Asked, Runtime], Iterator[Problem]]] = [
    _image,
    _secrets,
    _upload,
    _pictures,
    _amounts,
    _size,
    _cpu,
    _node_selector,
    _tolerations,
    _names,
    _queue_of_kueue,
]
