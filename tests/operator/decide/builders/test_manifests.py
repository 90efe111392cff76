"""Everything that is made for a job, beside what is expected: `manifests/CASE/input.yaml` -> `expected.yaml`, where there is one
with the DreamBoothRuntime of `runtime.yaml`.

After a wanted change: `REFRESH=1 pytest tests/operator/builders`, and read the difference.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_api.cluster_rules import judge
from dreambooth_api.runtime import DreamBoothRuntimeSpec, Runtime
from dreambooth_operator.decide.policies.apply_runtime import equipped
from dreambooth_operator.decide.policies.limits import excesses
from dreambooth_operator.decide.policies.start import start_of
from dreambooth_operator.settings import Settings

CASES = Path(__file__).parent / "manifests"
SETTINGS = Settings(trainer_image="registry/trainer:1", image_pull_secrets=["pull"])


def made_for(file: Path) -> str:
    owner = yaml.safe_load(file.read_text())
    owner["metadata"] |= {"namespace": "space", "uid": "uid-1"}
    job, problems = judge(owner)
    assert job is not None, problems
    runtime = Runtime(None, DreamBoothRuntimeSpec())
    if (beside := file.with_name("runtime.yaml")).exists():
        item = yaml.safe_load(beside.read_text())
        runtime = Runtime(item["metadata"]["name"], DreamBoothRuntimeSpec.model_validate(item["spec"], by_name=False))
        assert excesses(job, runtime) == []
    start = start_of(owner, equipped(job, runtime), 0, {}, runtime, SETTINGS)
    documents: list[dict[str, Any]] = [*start.apply, *start.create]
    return yaml.safe_dump_all(documents, sort_keys=False, width=120)


@pytest.mark.parametrize("case", sorted(folder.name for folder in CASES.iterdir()))
def test_what_is_made_for_a_job(case: str) -> None:
    expected, made = CASES / case / "expected.yaml", made_for(CASES / case / "input.yaml")
    if os.environ.get("REFRESH"):
        expected.write_text(made)
    assert made == expected.read_text()


@pytest.mark.parametrize("case", sorted(folder.name for folder in CASES.iterdir()))
def test_a_real_api_server_takes_it(case: str, cluster: Any) -> None:
    """Also under the restricted level, which it would warn of."""
    namespace = f"golden-{case}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    try:
        if (runtime := CASES / case / "runtime.yaml").exists():
            cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", runtime)
        for document in yaml.safe_load_all((CASES / case / "expected.yaml").read_text()):
            document["metadata"] |= {"namespace": namespace, "ownerReferences": []}
            text = yaml.safe_dump(document)
            cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=text)
            if document["kind"] == "Job":
                template = document["spec"]["template"]
                template["spec"].pop("priorityClassName", None)  # no such class is there
                pod = {
                    **template,
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "pod", "namespace": namespace},
                }
                cluster.kubectl("apply", "--dry-run=server", "--filename", "-", stdin=yaml.safe_dump(pod))
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
