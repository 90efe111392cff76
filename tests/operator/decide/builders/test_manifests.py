"""Compares the objects for `manifests/CASE/input.yaml` with `expected.yaml`; a case may have a runtime in `runtime.yaml`, and the
DreamBoothJob that a DreamBoothScene names in `job.yaml`.

After an intended change: `REFRESH=1 pytest tests/operator/decide/builders`, then review the diff.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_api.cluster_rules import readable, validate
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.runtime import DreamBoothRuntimeSpec, Runtime
from dreambooth_operator.decide.policies.apply_runtime import with_runtime
from dreambooth_operator.decide.policies.limits import Asked, violations
from dreambooth_operator.decide.policies.start import plan_start
from dreambooth_operator.decide.programs import program_of
from dreambooth_operator.settings import Settings
from tests.patience import PATIENCE

CASES = Path(__file__).parent / "manifests"
SETTINGS = Settings(trainer_image="registry/trainer:1", image_pull_secrets=["pull"])


def made_for(file: Path) -> str:
    owner = yaml.safe_load(file.read_text())
    owner["metadata"] |= {"namespace": "space", "uid": "uid-1"}
    workload, problems = validate(owner)
    assert workload is not None, problems
    trained = None
    if (named := file.with_name("job.yaml")).exists():
        trained = readable(yaml.safe_load(named.read_text()))
        assert isinstance(trained, DreamBoothJob)
    runtime = Runtime(None, DreamBoothRuntimeSpec())
    if (given := file.with_name("runtime.yaml")).exists():
        item = yaml.safe_load(given.read_text())
        runtime = Runtime(item["metadata"]["name"], DreamBoothRuntimeSpec.model_validate(item["spec"], by_name=False))
    applied = with_runtime(workload, runtime)
    program = program_of(applied, trained)
    assert program is not None
    assert runtime.name is None or violations(Asked(workload, program), runtime) == []
    start = plan_start(owner, applied, program, 0, {}, runtime, SETTINGS)
    documents: list[dict[str, Any]] = [*start.apply, *start.create]
    return yaml.safe_dump_all(documents, sort_keys=False, width=120)


@pytest.mark.parametrize("case", sorted(folder.name for folder in CASES.iterdir()))
def test_objects_of_a_workload(case: str) -> None:
    expected, made = CASES / case / "expected.yaml", made_for(CASES / case / "input.yaml")
    if os.environ.get("REFRESH"):
        expected.write_text(made)
    assert made == expected.read_text()


@pytest.mark.parametrize("case", sorted(folder.name for folder in CASES.iterdir()))
def test_an_api_server_accepts_the_objects(case: str, cluster: Any) -> None:
    """The `restricted` Pod Security Standard causes no warnings."""
    namespace = f"golden-{case}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    # Without it, the API server refuses pods.
    cluster.kubectl(
        "wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", f"--timeout={PATIENCE}s"
    )
    try:
        if (runtime := CASES / case / "runtime.yaml").exists():
            cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", runtime)
        for document in yaml.safe_load_all((CASES / case / "expected.yaml").read_text()):
            document["metadata"] |= {"namespace": namespace, "ownerReferences": []}
            text = yaml.safe_dump(document)
            cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=text)
            if document["kind"] == "Job":
                template = document["spec"]["template"]
                for name in ("priorityClassName", "runtimeClassName"):
                    template["spec"].pop(name, None)  # there is no such class
                pod = {
                    **template,
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "pod", "namespace": namespace},
                }
                cluster.kubectl("apply", "--dry-run=server", "--filename", "-", stdin=yaml.safe_dump(pod))
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
