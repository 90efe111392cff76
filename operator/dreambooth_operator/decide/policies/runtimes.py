"""Chooses the DreamBoothRuntime of a workload: the one that it names, or the default of its namespace. Used by
`decide/decision.py` before an attempt starts; a running attempt does not change.

In a namespace without any runtime, the settings of the operator apply. A runtime for one team does not affect other teams.
"""

from collections.abc import Iterable, Mapping, Sequence

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.runtime import DreamBoothRuntimeSpec, LabelSelector, Runtime
from dreambooth_api.runtime_rules import validate_runtime
from dreambooth_operator.decide.policies.apply_runtime import with_runtime
from dreambooth_operator.decide.policies.preflight import required_objects
from dreambooth_operator.decide.programs import program_of
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects.observed import Object, Reference
from dreambooth_operator.objects.reading import name_of
from dreambooth_operator.settings import Settings


def choose_runtime(
    workload: Workload, runtimes: Sequence[Object], namespace: Object | None, settings: Settings
) -> Runtime | Finding:
    """The runtime of a workload, or why it has none yet.

    Args:
        workload: the workload.
        runtimes: all DreamBoothRuntimes.
        namespace: its namespace, with labels; None if it was not requested or does not exist.
        settings: the settings of the operator, for the case without a runtime.
    """
    space = workload.metadata.namespace or ""
    labels = (namespace or {"metadata": {}})["metadata"].get("labels", {})
    for item in _candidates(workload, runtimes):
        spec, problems = _read(item)
        if spec is None:
            return reasons.RUNTIME_UNSOUND(name=name_of(item), problems=problems)
    wanted = workload.spec.runtime
    served = _served(_candidates(workload, runtimes), labels)
    if wanted and not served:
        others = sorted(str(runtime.name) for runtime in _served(runtimes, labels))
        alternative = f"with one of these runtimes: {', '.join(others)}" if others else "without spec.runtime"
        if any(name_of(item) == wanted for item in runtimes):
            return reasons.RUNTIME_FORBIDDEN(name=wanted, namespace=space, alternative=alternative)
        return reasons.RUNTIME_NOT_FOUND(name=wanted, alternative=alternative)
    if wanted:
        return served[0]
    defaults = [runtime for runtime in served if runtime.spec.default]
    if defaults:
        return defaults[0]
    if served:
        names = ", ".join(sorted(str(runtime.name) for runtime in served))
        return reasons.RUNTIME_NOT_NAMED(namespace=space, names=names)
    spec = DreamBoothRuntimeSpec(
        allowed_images=settings.allowed_images,
        allowed_uploads=settings.allowed_uploads,
        token_secret_names=settings.token_secret_names,
    )
    return Runtime(None, spec)


def required_references(
    workload: Workload, trained: DreamBoothJob | None, runtimes: Sequence[Object]
) -> set[Reference]:
    """The objects that `choose_runtime` and the preflight checks with any of its results depend on, except the runtimes."""
    read = [spec for item in _candidates(workload, runtimes) if (spec := _read(item)[0])]
    programs = [(program_of(with_runtime(workload, Runtime("", spec)), trained), spec.ca_bundle) for spec in read]
    programs.append((program_of(workload, trained), None))
    references = {one for program, bundle in programs if program for one in required_objects(program, bundle)}
    # If the named runtime does not exist, the message has those that the namespace may use.
    offered = read or [spec for item in runtimes if (spec := _read(item)[0])]
    if any(spec.namespace_selector != LabelSelector() for spec in offered):
        references.add(Reference("Namespace", workload.metadata.namespace or ""))
    return references


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches labels."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for one in selector.match_expressions:
        found = {
            "In": labels.get(one.key) in one.values,
            "NotIn": labels.get(one.key) not in one.values,
            "Exists": one.key in labels,
            "DoesNotExist": one.key not in labels,
        }
        if not found[one.operator]:
            return False
    return True


def _candidates(workload: Workload, runtimes: Iterable[Object]) -> list[Object]:
    """The runtime that the spec names, or all runtimes, newest first. The newest default wins, as with StorageClasses."""
    newest = sorted(runtimes, key=name_of)
    newest.sort(key=lambda item: str(item["metadata"].get("creationTimestamp", "")), reverse=True)
    return [item for item in newest if workload.spec.runtime in (None, name_of(item))]


def _served(runtimes: Iterable[Object], labels: Mapping[str, str]) -> list[Runtime]:
    """The valid ones of some runtimes that a namespace with these labels may use, in the same order."""
    read = ((name_of(item), _read(item)[0]) for item in runtimes)
    return [Runtime(name, spec) for name, spec in read if spec and selects(spec.namespace_selector, labels)]


def _read(item: Object) -> tuple[DreamBoothRuntimeSpec | None, str]:
    """The spec of a runtime, or what is wrong with it: a newer CustomResourceDefinition may have fields that are unknown here."""
    spec, problems = validate_runtime(item)
    return spec, " ".join(map(str, problems))
