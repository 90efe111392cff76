from typing import Any

import pytest

from dreambooth_api.runtime_pods import CaBundle
from dreambooth_operator.decide.policies.preflight import CLAIM, created_objects, preflight_failures, required_objects
from dreambooth_operator.decide.programs import training_program
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Reference
from dreambooth_operator.settings import Settings
from tests.operator.fake_cluster import SETTINGS
from tests.operator.pieces import OWNER, UID, read

CONFIG, OUTPUT, PHOTOS = Reference("ConfigMap", "dog-config"), Reference(CLAIM, "dog"), Reference("ConfigMap", "photos")
JOB, POLICY = Reference("Job", "dog-3"), Reference("NetworkPolicy", "dog")
SHELF = {"volumes": {"output": {"claimName": "shelf"}}}
MINE = {"kind": "DreamBoothJob", "name": "dog", "uid": UID, "controller": True}


def photos(**images: Any) -> dict[str, Any]:
    return {"subject": {"class": "dog", "images": images}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {PHOTOS: "subject.images.configMap.name"}),
        (photos(image={"reference": "photos:1"}), {}),
        (
            photos(persistentVolumeClaim={"claimName": "a", "path": "b"}),
            {(CLAIM, "a"): "subject.images.persistentVolumeClaim.claimName"},
        ),
        ({"prior": {"source": {"image": {"reference": "dogs:1"}}}}, {PHOTOS: "subject.images.configMap.name"}),
        (
            {"prior": {"source": {"configMap": {"name": "dogs"}}}},
            {PHOTOS: "subject.images.configMap.name", ("ConfigMap", "dogs"): "prior.source.configMap.name"},
        ),
        (
            {"prior": {"source": {"persistentVolumeClaim": {"claimName": "a"}}}},
            {PHOTOS: "subject.images.configMap.name", (CLAIM, "a"): "prior.source.persistentVolumeClaim.claimName"},
        ),
        (
            {
                "subject": None,
                "subjects": [
                    {"name": "rex", "class": "dog", "images": {"configMap": {"name": "photos"}}},
                    {"name": "tom", "class": "cat", "images": {"persistentVolumeClaim": {"claimName": "a"}}},
                    {"name": "tim", "class": "cat", "images": {"configMap": {"name": "tim"}}},
                ],
            },
            {
                PHOTOS: "subjects[0].images.configMap.name",
                (CLAIM, "a"): "subjects[1].images.persistentVolumeClaim.claimName",
                ("ConfigMap", "tim"): "subjects[2].images.configMap.name",
            },
        ),
        (
            photos(configMaps=[{"name": "photos"}, {"name": "more"}]),
            {
                PHOTOS: "subject.images.configMaps[0].name",
                ("ConfigMap", "more"): "subject.images.configMaps[1].name",
            },
        ),
        (SHELF, {PHOTOS: "subject.images.configMap.name", (CLAIM, "shelf"): "volumes.output.claimName"}),
        (
            {"volumes": {"cache": {"claimName": "cache"}}, "model": {"source": "pvc://models/sd"}},
            {
                PHOTOS: "subject.images.configMap.name",
                (CLAIM, "cache"): "volumes.cache.claimName (or its runtime)",
                (CLAIM, "models"): "model.source",
            },
        ),
    ],
)
def test_required_objects(spec: dict[str, Any], expected: dict[Any, str]) -> None:
    assert required_objects(training_program(read(**spec)), None) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, [CONFIG, JOB, OUTPUT, POLICY]),
        (SHELF, [CONFIG, JOB, POLICY]),
        ({"resources": {"nodes": 2}}, [CONFIG, JOB, OUTPUT, ("Service", "dog"), POLICY]),
    ],
)
def test_created_objects(spec: dict[str, Any], expected: list[Any]) -> None:
    job = read(**spec)
    assert created_objects(job, training_program(job), 3, SETTINGS) == expected


def test_no_network_policy_is_created_if_they_are_disabled() -> None:
    settings = SETTINGS.model_copy(update={"network_policies": False})
    assert created_objects(read(), training_program(read()), 3, settings) == [CONFIG, JOB, OUTPUT]
    assert failures({}, {PHOTOS: item(), POLICY: item()}, settings) == []


def failures(
    spec: dict[str, Any], present: Any, settings: Settings = SETTINGS, bundle: CaBundle | None = None, **more: Any
) -> list[Finding]:
    job = read(**spec)
    program = training_program(job)
    return preflight_failures(OWNER, program, created_objects(job, program, 3, settings), present, bundle, **more)


def item(*owners: dict[str, Any], leaving: bool = False, label: str = "", **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"ownerReferences": list(owners), **({"deletionTimestamp": "now"} if leaving else {})}
    metadata |= {"labels": {LABEL_JOB: label}} if label else {}
    return {"metadata": metadata, **more}


@pytest.mark.parametrize(
    ("spec", "present", "expected"),
    [
        ({}, {}, None),
        ({}, {PHOTOS: None}, "ConfigMapNotFound"),
        ({}, {PHOTOS: item(leaving=True)}, "BeingDeleted"),
        (SHELF, {}, "ClaimNotFound"),
        (SHELF, {Reference(CLAIM, "shelf"): item(status={"phase": "Pending"})}, None),
        (SHELF, {Reference(CLAIM, "shelf"): item(status={"phase": "Lost"})}, "ClaimLost"),
        ({}, {CONFIG: item(MINE), OUTPUT: item(MINE)}, None),
        ({}, {CONFIG: item(MINE, leaving=True)}, "BeingDeleted"),
        ({}, {CONFIG: item()}, "NameTaken"),
        ({}, {CONFIG: item({**MINE, "uid": "earlier"})}, "BeingDeleted"),
        ({}, {CONFIG: item({**MINE, "uid": "x", "name": "cat"})}, "NameTaken"),
        ({}, {CONFIG: item({**MINE, "controller": False})}, "NameTaken"),
        ({}, {OUTPUT: item(label="dog")}, None),
        ({}, {OUTPUT: item()}, "NameTaken"),
        ({}, {OUTPUT: item(label="cat")}, "NameTaken"),
        ({}, {OUTPUT: item(label="dog", status={"phase": "Lost"})}, "ClaimLost"),
        ({}, {OUTPUT: item({"kind": "StatefulSet", "name": "db", "uid": "x", "controller": True})}, "NameTaken"),
        ({}, {JOB: item()}, "NameTaken"),
        ({}, {POLICY: item()}, "NameTaken"),
        ({}, {JOB: item({**MINE, "uid": "x", "name": "cat"})}, "NameTaken"),
        ({}, {JOB: item({**MINE, "uid": "earlier"})}, "BeingDeleted"),
        ({}, {JOB: item(MINE)}, None),
        ({}, {Reference("Job", "dog-2"): item()}, None),
        (photos(configMap={"name": "dog-config"}), {}, "ConfigMapNotFound"),
        (photos(persistentVolumeClaim={"claimName": "dog", "path": "photos"}), {}, None),
    ],
)
def test_a_failed_check(spec: dict[str, Any], present: dict[Reference, Any], expected: str | None) -> None:
    found = failures(spec, {PHOTOS: item(), **present})
    assert [one.reason for one in found] == ([expected] if expected else [])


def test_all_failed_checks_are_reported_at_once() -> None:
    found = failures(SHELF, {PHOTOS: None, CONFIG: item(), POLICY: item()}, reported={POLICY})
    assert [one.reason for one in found] == ["ClaimNotFound", "ConfigMapNotFound", "NameTaken"]


def test_the_message_names_the_field_or_the_owner() -> None:
    (missing,) = failures({}, {PHOTOS: None})
    assert missing.message.startswith("ConfigMap photos (spec.subject.images.configMap.name)")
    owner = {"kind": "Deployment", "name": "web", "uid": "x", "controller": True}
    (taken,) = failures({}, {PHOTOS: item(), CONFIG: item(owner)})
    assert "belongs to Deployment web" in taken.message


def test_the_certificates_of_the_runtime_must_exist() -> None:
    bundle = CaBundle(config_map_name="trusted")
    (missing,) = failures({}, {PHOTOS: item()}, bundle=bundle)
    assert missing.message.startswith("ConfigMap trusted (spec.caBundle.configMapName of its runtime) does not exist")
    trusted = Reference("ConfigMap", "trusted")
    assert failures({}, {PHOTOS: item(), trusted: item()}, bundle=bundle) == []
