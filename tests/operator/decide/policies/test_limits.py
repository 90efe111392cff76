from typing import Any

import pytest

from dreambooth_api.runtime import DreamBoothRuntimeSpec, Runtime
from dreambooth_operator.decide.policies.limits import Asked, is_allowed, violations
from dreambooth_operator.decide.programs import training_program
from tests.operator.pieces import read


def asked(**spec: Any) -> Asked:
    job = read(**spec)
    return Asked(job, training_program(job))


def runtime(**spec: Any) -> Runtime:
    return Runtime("small", DreamBoothRuntimeSpec.model_validate(spec, by_name=False))


@pytest.mark.parametrize(
    ("image", "allowed", "expected"),
    [
        ("a:1", ["b:1", "a:1"], True),
        ("a:12", ["a:1"], False),
        ("registry.good/x:1", ["registry.good/*"], True),
        ("registry.good/x/y@sha256:0", ["registry.good/*"], True),
        ("registry.good.evil.com/x:1", ["registry.good/*"], False),
        ("registry.good@evil.com/x:1", ["registry.good/*"], False),
        ("registry.good/", ["registry.good/*"], False),
        ("registry.good/team/../evil:1", ["registry.good/team/*"], False),
        ("registry/x:2", ["registry/x:*"], True),
        ("registry/x", ["registry/x:*"], False),
        ("registry.good:5000/evil:1", ["registry.good:*"], False),
        ("registry.good@evil/x:1", ["registry.good@*"], False),
        ("registry/x@sha256:0", ["registry/x@*"], True),
        ("anything/at:all", ["*"], True),
        ("a:1", [], False),
    ],
)
def test_a_prefix_allows_what_is_below_a_name_and_no_other_name(image: str, allowed: list[str], expected: bool) -> None:
    assert is_allowed(image, allowed) is expected


GPU = {"key": "gpu", "operator": "Exists"}
GATED = {"source": "hf://a/b", "tokenSecret": {"name": "hub"}}
LOGGED = {"wandb": {"project": "dogs", "mode": "online", "apiKeySecret": {"name": "wandb"}}}
UPLOADED = {"upload": {"to": "s3://results/dogs/rex", "secret": {"name": "store"}}}
STORE = {"tokenSecretNames": ["store"]}
DOGS = {"source": {"image": {"reference": "registry/dogs:1"}}}
PETS = {"class": "dog", "images": {"image": {"reference": "registry/pets:1"}}}
PHOTOS = {"class": "dog", "images": {"image": {"reference": "registry/photos:1"}}}


@pytest.mark.parametrize(
    ("spec", "given", "field"),
    [
        ({"image": "own:1"}, {}, "spec.image"),
        ({"image": "own:1"}, {"allowedImages": ["own:*"]}, None),
        ({"model": GATED}, {}, "spec.model.tokenSecret.name"),
        ({"model": GATED}, {"tokenSecretNames": ["hub-1"]}, "spec.model.tokenSecret.name"),
        ({"model": GATED}, {"tokenSecretNames": ["other", "hub"]}, None),
        ({"monitoring": LOGGED}, {"tokenSecretNames": ["hub"]}, "spec.monitoring.wandb.apiKeySecret.name"),
        ({"monitoring": LOGGED}, {"tokenSecretNames": ["wandb"]}, None),
        ({"output": UPLOADED}, {"tokenSecretNames": ["store"]}, "spec.output.upload.to"),
        ({"output": UPLOADED}, {"allowedUploads": ["s3://results/*"]}, "spec.output.upload.secret.name"),
        ({"output": UPLOADED}, {**STORE, "allowedUploads": ["s3://results"]}, "spec.output.upload.to"),
        (
            {"output": UPLOADED},
            {**STORE, "allowedUploads": ["s3://results-2/*", "hf://results/*"]},
            "spec.output.upload.to",
        ),
        ({"output": UPLOADED}, {**STORE, "allowedUploads": ["s3://results/*"]}, None),
        ({"output": UPLOADED}, {**STORE, "allowedUploads": ["s3://results/dogs/rex"]}, None),
        ({"subject": PHOTOS}, {"allowedImages": ["*"]}, "spec.subject.images.image.reference"),
        ({"subject": PHOTOS}, {"allowedPhotoImages": ["registry/photos:*"]}, None),
        (
            {"subject": None, "subjects": [{**PETS, "name": "rex"}, {**PHOTOS, "name": "tom"}]},
            {"allowedPhotoImages": ["registry/pets:*"]},
            "spec.subjects[1].images.image.reference",
        ),
        ({"prior": DOGS}, {"allowedPhotoImages": ["registry/photos:*"]}, "spec.prior.source.image.reference"),
        ({"prior": DOGS}, {"allowedPhotoImages": ["registry/*"]}, None),
        ({"resources": {"cpu": "9"}}, {"resources": {"cpuLimit": "8"}}, "spec.resources.cpu"),
        ({"resources": {"cpu": "9"}}, {"resources": {"cpuLimit": "8", "cpu": "7"}}, None),
        ({"training": {"steps": 11}}, {"limits": {"steps": 10}}, "spec.training.steps"),
        ({"training": {"steps": 10}}, {"limits": {"steps": 10}}, None),
        ({"resources": {"nodes": 3}}, {"limits": {"nodes": 2}}, "spec.resources.nodes"),
        ({"resources": {"gpusPerNode": 3}}, {"limits": {"gpusPerNode": 2}}, "spec.resources.gpusPerNode"),
        ({"resources": {"gpusPerNode": 1}}, {"limits": {"gpusPerNode": 0}}, "spec.resources.gpusPerNode"),
        ({"resources": {"nodes": 3, "gpusPerNode": 2}}, {"limits": {"gpus": 5}}, "spec.resources"),
        ({"resources": {"nodes": 3, "gpusPerNode": 2}}, {"limits": {"gpus": 6}}, None),
        ({"activeDeadlineSeconds": 61}, {"limits": {"activeDeadlineSeconds": 60}}, "spec.activeDeadlineSeconds"),
        ({}, {"limits": {"activeDeadlineSeconds": 60}}, None),
        (
            {"scheduling": {"nodeSelector": {"gpu": "h200"}}},
            {"nodeSelector": {"gpu": "a100"}},
            "spec.scheduling.nodeSelector.gpu",
        ),
        ({"scheduling": {"nodeSelector": {"zone": "a"}}}, {"nodeSelector": {"gpu": "a100"}}, None),
        (
            {"scheduling": {"tolerations": [{"operator": "Exists"}]}},
            {"tolerations": [GPU]},
            "spec.scheduling.tolerations[0]",
        ),
        ({"scheduling": {"tolerations": [GPU]}}, {"tolerations": [GPU]}, None),
        ({"scheduling": {"priorityClassName": "a"}}, {}, "spec.scheduling.priorityClassName"),
        (
            {"scheduling": {"priorityClassName": "a"}},
            {"priorityClassNames": ["b"]},
            "spec.scheduling.priorityClassName",
        ),
        ({"scheduling": {"priorityClassName": "b"}}, {"priorityClassNames": ["a", "b"]}, None),
        ({"scheduling": {"queueName": "a"}}, {}, None),
        ({"scheduling": {"topology": {"required": "rack"}}}, {}, "spec.scheduling.topology"),
        ({"scheduling": {"topology": {"required": "rack"}}}, {"queueNames": ["a"]}, None),
        (
            {"scheduling": {"workloadPriorityClassName": "a"}},
            {"workloadPriorityClassNames": ["a"]},
            "spec.scheduling.workloadPriorityClassName",
        ),
        (
            {"scheduling": {"workloadPriorityClassName": "a", "queueName": "q"}},
            {"workloadPriorityClassNames": ["b"]},
            "spec.scheduling.workloadPriorityClassName",
        ),
        ({"scheduling": {"queueName": "a"}}, {"queueNames": ["b"]}, "spec.scheduling.queueName"),
    ],
)
def test_violations_name_the_field(spec: Any, given: Any, field: str | None) -> None:
    assert [problem.field for problem in violations(asked(**spec), runtime(**given))] == ([field] if field else [])


def test_all_violations_are_reported_at_once_with_value_and_limit() -> None:
    much = asked(training={"steps": 800}, resources={"nodes": 4, "gpusPerNode": 2})
    said = [str(problem) for problem in violations(much, runtime(limits={"steps": 400, "gpus": 4}))]
    assert said == [
        "spec.training.steps: 800 exceeds the limit of the runtime small: 400. Reduce it, or choose another runtime.",
        "spec.resources: '4 nodes of 2 GPUs' exceeds the limit of the runtime small: 4. Reduce it, or choose another runtime.",
    ]


def test_without_a_runtime_only_the_image_and_the_secret_are_checked() -> None:
    free = asked(scheduling={"priorityClassName": "a", "tolerations": [GPU]}, image="own:1", model=GATED)
    found = violations(free, Runtime(None, DreamBoothRuntimeSpec()))
    assert [one.field for one in found] == ["spec.image", "spec.model.tokenSecret.name"]
    assert found[1].remedy == "Remove it, or ask an administrator to add it to tokenSecretNames of the operator"
