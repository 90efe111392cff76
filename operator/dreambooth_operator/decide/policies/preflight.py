"""Preflight checks before an attempt requests GPUs: required objects exist, and no other object has a needed name."""

from collections.abc import Collection, Mapping
from typing import Final

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.runtime_pods import CaBundle
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object, Reference
from dreambooth_operator.objects.reading import controller_of, is_being_deleted, is_controlled_by, name_of, uid_of
from dreambooth_operator.settings import Settings

CLAIM: Final = "PersistentVolumeClaim"
Referenced = Mapping[Reference, Object | None]


def required_objects(program: Program, ca_bundle: CaBundle | None) -> Mapping[Reference, str]:
    """The objects that users must create, and the field of the spec that names each.

    Args:
        program: what the pods run.
        ca_bundle: the certificates of the runtime.
    """
    named: dict[Reference, str] = {}
    for one in program.claims:
        if one.field:
            source = " (or its runtime)" if one.volume == "cache" else ""
            named.setdefault(Reference(CLAIM, one.claim), one.field + source)
    for field, images in program.pictures.values():
        for own_field, name in images.in_config_maps.items():
            named.setdefault(Reference("ConfigMap", name), f"{field}.{own_field}")
    if ca_bundle:
        named.setdefault(Reference("ConfigMap", ca_bundle.config_map_name), "caBundle.configMapName of its runtime")
    return named


def created_objects(workload: Workload, program: Program, number: int, settings: Settings) -> list[Reference]:
    """The objects that the operator creates for an attempt."""
    references = [Reference("ConfigMap", names.config_map(workload)), Reference("Job", names.attempt(workload, number))]
    if program.created:
        references.append(Reference(CLAIM, program.output.claim))
    if workload.spec.resources.nodes > 1:
        references.append(Reference("Service", names.service(workload)))
    if settings.network_policies:
        references.append(Reference("NetworkPolicy", names.network_policy(workload)))
    return references


def preflight_failures(
    owner: Object,
    program: Program,
    own: Collection[Reference],
    referenced: Referenced,
    ca_bundle: CaBundle | None = None,
    reported: Collection[Reference] = (),
) -> list[Finding]:
    """The checks that fail.

    Args:
        owner: the workload as an object of the API server.
        program: what its pods run.
        own: the result of `created_objects`.
        referenced: the objects of `required_objects` and `created_objects`, as far as they exist.
        ca_bundle: the certificates of the runtime.
        reported: objects whose names are needed, but that have been reported.
    """
    # Pictures and models may be on the claim that the operator creates, but never in the ConfigMap that it creates.
    required = {
        reference: field
        for reference, field in required_objects(program, ca_bundle).items()
        if reference not in own or reference.kind != CLAIM
    }
    found = [_missing(one, referenced.get(one), field, owner) for one, field in required.items()]
    for reference in own:
        item = referenced.get(reference)
        if item is not None and reference not in reported:
            found.append(_name_conflict(reference, item, owner))
    return [finding for finding in found if finding]


def _missing(reference: Reference, item: Object | None, field: str, owner: Object) -> Finding | None:
    kind, name = reference
    if item is None:
        reason = reasons.CLAIM_NOT_FOUND if kind == CLAIM else reasons.CONFIG_MAP_NOT_FOUND
        return reason(name=name, field=field, namespace=owner["metadata"]["namespace"])
    return _unusable(reference, item)


def _name_conflict(reference: Reference, item: Object, owner: Object) -> Finding | None:
    """An existing object with a name that the operator needs. A claim that an earlier workload with the same name left is
    reused: it has the label of the name, and no controller."""
    kind, name = reference
    controller = controller_of(item)
    is_left = controller is None and names.owner_label(item, owner["kind"]) == name_of(owner)
    if is_controlled_by(item, uid_of(owner)) or (kind == CLAIM and is_left):
        return _unusable(reference, item)
    if controller and (controller.get("kind"), controller.get("name")) == (owner["kind"], name_of(owner)):
        return reasons.BEING_DELETED(kind=kind, name=name)
    holder = f"{controller.get('kind')} {controller.get('name')}" if controller else None
    origin = f"belongs to {holder}" if holder else "was not created by the operator"
    alternative = ", or name the claim in spec.volumes.output.claimName" if kind == CLAIM else ""
    return reasons.NAME_TAKEN(kind=kind, name=name, origin=origin, alternative=alternative)


def _unusable(reference: Reference, item: Object) -> Finding | None:
    kind, name = reference
    if is_being_deleted(item):
        return reasons.BEING_DELETED(kind=kind, name=name)
    if kind == CLAIM and item.get("status", {}).get("phase") == "Lost":
        return reasons.CLAIM_LOST(name=name)
    return None
