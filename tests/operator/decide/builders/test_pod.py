from typing import Any

from dreambooth_api.runtime import DreamBoothRuntimeSpec
from dreambooth_api.runtime_pods import OWN_VARIABLES, is_reserved
from dreambooth_operator.decide.builders.pod import build_pod_template
from dreambooth_operator.decide.programs import training_program
from dreambooth_operator.objects import names
from tests.operator.fake_cluster import SETTINGS
from tests.operator.pieces import OWNER, read

LABELS = {**names.labels(OWNER), **names.selector(OWNER), names.LABEL_ATTEMPT: "0"}
CERTIFICATES = {"caBundle": {"configMapName": "trusted"}}
GATED = {"source": "hf://a/b", "tokenSecret": {"name": "hub"}}


def template(runtime: dict[str, Any], **spec: Any) -> dict[str, Any]:
    given = DreamBoothRuntimeSpec.model_validate(runtime, by_name=False)
    job = read(**spec)
    return build_pod_template(job, training_program(job), "dog-0", dict(LABELS), given, SETTINGS)


def test_a_runtime_can_not_replace_what_the_operator_sets() -> None:
    made = template(CERTIFICATES, model=GATED)
    assert all(map(is_reserved, made["metadata"]["labels"]))
    assert {one["name"] for one in made["spec"]["containers"][0]["env"]} <= set(OWN_VARIABLES)


def test_a_runtime_without_fields_for_pods_changes_nothing() -> None:
    assert template({}) == template({"podLabels": {}, "env": [], "podUser": "Fixed"})


def test_an_assigned_user_is_left_to_the_platform() -> None:
    fixed, assigned = (template({"podUser": user})["spec"]["securityContext"] for user in ("Fixed", "Assigned"))
    assert fixed == {**assigned, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
    assert assigned["runAsNonRoot"] is True
