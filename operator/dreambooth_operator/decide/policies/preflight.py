"""Preflight checks before an attempt requests GPUs: required objects exist, and no other object has a needed name."""

from collections.abc import Collection, Mapping
from typing import Final

from dreambooth_api.job import KIND, DreamBoothJob
from dreambooth_api.runtime_pods import CaBundle
from dreambooth_operator.decide.builders.volumes import PICTURES, claims_read, output_claim, pictures_of
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object, Reference
from dreambooth_operator.objects.reading import controller_of, is_being_deleted, is_controlled_by, name_of, uid_of
from dreambooth_operator.settings import Settings

CLAIM: Final = "PersistentVolumeClaim"
Referenced = Mapping[Reference, Object | None]


def required_objects(job: DreamBoothJob, ca_bundle: CaBundle | None) -> Mapping[Reference, str]:
    """The objects that users must create, and the field of the spec that names each.

    Args:
        job: the DreamBoothJob, with the fields that its runtime sets.
        ca_bundle: the certificates of its runtime.
    """
    named = {Reference(CLAIM, claim): field for claim, field in claims_read(job).items()}
    volumes = job.spec.volumes
    if volumes.output.claim_name:
        named[Reference(CLAIM, volumes.output.claim_name)] = "volumes.output.claimName"
    if volumes.cache:
        named.setdefault(Reference(CLAIM, volumes.cache.claim_name), "volumes.cache.claimName (or its runtime)")
    for name, images in pictures_of(job).items():
        if images.config_map:
            named.setdefault(Reference("ConfigMap", images.config_map.name), f"{PICTURES[name]}.configMap.name")
    if ca_bundle:
        named.setdefault(Reference("ConfigMap", ca_bundle.config_map_name), "caBundle.configMapName of its runtime")
    return named


def created_objects(job: DreamBoothJob, number: int, settings: Settings) -> list[Reference]:
    """The objects that the operator creates for an attempt."""
    name = job.metadata.name
    references = [Reference("ConfigMap", names.config_map(name)), Reference("Job", names.attempt(name, number))]
    if not job.spec.volumes.output.claim_name:
        references.append(Reference(CLAIM, output_claim(job)))
    if job.spec.resources.nodes > 1:
        references.append(Reference("Service", names.service(name)))
    if settings.network_policies:
        references.append(Reference("NetworkPolicy", names.network_policy(name)))
    return references


def preflight_failures(
    dreamboothjob: Object,
    job: DreamBoothJob,
    number: int,
    referenced: Referenced,
    settings: Settings,
    ca_bundle: CaBundle | None = None,
    reported: Collection[Reference] = (),
) -> list[Finding]:
    """The checks that fail.

    Args:
        dreamboothjob: the DreamBoothJob as an object of the API server.
        job: the same, parsed.
        number: number of the attempt.
        referenced: the objects of `required_objects` and `created_objects`, as far as they exist.
        settings: the settings of the operator.
        ca_bundle: the certificates of the runtime.
        reported: objects whose names are needed, but that have been reported.
    """
    own = created_objects(job, number, settings)
    # Pictures and models may be on the claim that the operator creates, but never in the ConfigMap that it creates.
    required = {
        reference: field
        for reference, field in required_objects(job, ca_bundle).items()
        if reference not in own or reference.kind != CLAIM
    }
    found = [_missing(one, referenced.get(one), field, dreamboothjob) for one, field in required.items()]
    for reference in own:
        item = referenced.get(reference)
        if item is not None and reference not in reported:
            found.append(_name_conflict(reference, item, dreamboothjob))
    return [finding for finding in found if finding]


def _missing(reference: Reference, item: Object | None, field: str, dreamboothjob: Object) -> Finding | None:
    kind, name = reference
    if item is None:
        reason = reasons.CLAIM_NOT_FOUND if kind == CLAIM else reasons.CONFIG_MAP_NOT_FOUND
        return reason(name=name, field=field, namespace=dreamboothjob["metadata"]["namespace"])
    return _unusable(reference, item)


def _name_conflict(reference: Reference, item: Object, dreamboothjob: Object) -> Finding | None:
    """An existing object with a name that the operator needs. A claim that an earlier DreamBoothJob with the same name left is
    reused: it has the label of the name, and no controller."""
    kind, name = reference
    controller = controller_of(item)
    is_left = controller is None and item["metadata"].get("labels", {}).get(names.LABEL_JOB) == name_of(dreamboothjob)
    if is_controlled_by(item, uid_of(dreamboothjob)) or (kind == CLAIM and is_left):
        return _unusable(reference, item)
    if controller and controller.get("kind") == KIND and controller.get("name") == dreamboothjob["metadata"]["name"]:
        return reasons.BEING_DELETED(kind=kind, name=name)
    owner = f"{controller.get('kind')} {controller.get('name')}" if controller else None
    origin = f"belongs to {owner}" if owner else "was not created by the operator"
    alternative = ", or name the claim in spec.volumes.output.claimName" if kind == CLAIM else ""
    return reasons.NAME_TAKEN(kind=kind, name=name, origin=origin, alternative=alternative)


def _unusable(reference: Reference, item: Object) -> Finding | None:
    kind, name = reference
    if is_being_deleted(item):
        return reasons.BEING_DELETED(kind=kind, name=name)
    if kind == CLAIM and item.get("status", {}).get("phase") == "Lost":
        return reasons.CLAIM_LOST(name=name)
    return None
