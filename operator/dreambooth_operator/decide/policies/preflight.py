"""What must be there, or must not be in the way, before GPUs are asked for."""

from collections.abc import Mapping
from typing import Final

from dreambooth_api.job import KIND, DreamBoothJob
from dreambooth_operator.decide.builders.volumes import claims_read, output_claim
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object, Reference
from dreambooth_operator.objects.reading import controller_of, is_being_deleted, is_controlled_by, uid_of
from dreambooth_operator.settings import Settings

CLAIM: Final = "PersistentVolumeClaim"
Present = Mapping[Reference, Object | None]


def needed(job: DreamBoothJob) -> Mapping[Reference, str]:
    """What others must have made: each object and the field of the spec that names it."""
    named = {Reference(CLAIM, claim): field for claim, field in claims_read(job).items()}
    volumes, photos = job.spec.volumes, job.spec.subject.images.config_map
    if volumes.output.claim_name:
        named[Reference(CLAIM, volumes.output.claim_name)] = "volumes.output.claimName"
    if volumes.cache:
        named.setdefault(Reference(CLAIM, volumes.cache.claim_name), "volumes.cache.claimName (or its runtime)")
    if photos:
        named[Reference("ConfigMap", photos.name)] = "subject.images.configMap.name"
    return named


def made(job: DreamBoothJob, number: int, settings: Settings) -> list[Reference]:
    """What the operator itself makes for an attempt."""
    name = job.metadata.name
    references = [Reference("ConfigMap", names.config_map(name)), Reference("Job", names.attempt(name, number))]
    if not job.spec.volumes.output.claim_name:
        references.append(Reference(CLAIM, output_claim(job)))
    if job.spec.resources.nodes > 1:
        references.append(Reference("Service", names.service(name)))
    if settings.network_policies:
        references.append(Reference("NetworkPolicy", names.network_policy(name)))
    return references


def obstacle(owner: Object, job: DreamBoothJob, number: int, present: Present, settings: Settings) -> Finding | None:
    """The first thing that is missing or in the way; None: the attempt may start.

    Args:
        owner: the DreamBoothJob as it stands in the API server.
        job: the same, read.
        number: number of the attempt.
        present: what was found of `needed` and `made`.
        settings: what the administrator decides.
    """
    own = made(job, number, settings)
    for reference, field in needed(job).items():
        # Photos and models may be on the claim that is made for the output, but never in the ConfigMap of the settings.
        to_be_made = reference in own and reference.kind == CLAIM
        if not to_be_made and (found := _lacking(reference, present.get(reference), field, owner)):
            return found
    for reference in own:
        item = present.get(reference)
        if item is not None and (found := _in_the_way(reference, item, owner)):
            return found
    return None


def _lacking(reference: Reference, item: Object | None, field: str, owner: Object) -> Finding | None:
    kind, name = reference
    if item is None:
        reason = reasons.CLAIM_NOT_FOUND if kind == CLAIM else reasons.CONFIG_MAP_NOT_FOUND
        return reason(name=name, field=field, namespace=owner["metadata"]["namespace"])
    return _unusable(reference, item)


def _in_the_way(reference: Reference, item: Object, owner: Object) -> Finding | None:
    """An object of a name that the job needs, but of somebody else. A claim without an owner is taken over: the output of an
    earlier job of the name was kept on it."""
    kind, name = reference
    controller = controller_of(item)
    if is_controlled_by(item, uid_of(owner)) or (kind == CLAIM and controller is None):
        return _unusable(reference, item)
    if controller and controller.get("kind") == KIND and controller.get("name") == owner["metadata"]["name"]:
        return reasons.BEING_DELETED(kind=kind, name=name)
    said = f"{controller.get('kind')} {controller.get('name')}" if controller else "somebody else"
    return reasons.NAME_TAKEN(kind=kind, name=name, owner=said)


def _unusable(reference: Reference, item: Object) -> Finding | None:
    kind, name = reference
    if is_being_deleted(item):
        return reasons.BEING_DELETED(kind=kind, name=name)
    if kind == CLAIM and item.get("status", {}).get("phase") == "Lost":
        return reasons.CLAIM_LOST(name=name)
    return None
