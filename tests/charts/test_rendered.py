"""Compares the rendered chart for `cases/CASE/values.yaml` with `expected.yaml`.

After an intended change: `REFRESH=1 pytest tests/charts`, then review the diff.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import Helm
from tests.charts.rendered import CASES, CHART, Objects, of_kind, pods_of, values_of
from tests.charts.schemas import RELEASES, faults

CRD = "CustomResourceDefinition"
Render = Callable[[Mapping[str, Any]], Objects]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_rendered_objects(case: Path, render: Render) -> None:
    objects = [item for item in render(values_of(case)) if item["kind"] != CRD]
    made = yaml.safe_dump_all(objects, sort_keys=False, width=120)
    if os.environ.get("REFRESH"):
        (case / "expected.yaml").write_text(made)
    assert made == (case / "expected.yaml").read_text()


@each_case
def test_helm_lint(case: Path, helm: Helm) -> None:
    ended = helm("lint", "--strict", str(CHART), "--values", str(case / "values.yaml"))
    assert ended.returncode == 0, ended.stdout
    assert "[WARNING]" not in ended.stdout


@each_case
@pytest.mark.parametrize("release", RELEASES)
def test_each_supported_kubernetes_knows_every_field(release: str, case: Path, render: Render) -> None:
    found = {
        f"{item['kind']} {item['metadata']['name']}": problems
        for item in render(values_of(case))
        if (problems := faults(release, item))
    }
    assert found == {}


def test_the_crds_are_those_of_the_project_and_are_kept(render: Render) -> None:
    installed = {item["metadata"]["name"]: item for item in of_kind(render({}), CRD)}
    committed = [yaml.safe_load(file.read_text()) for file in (CHART / "files").iterdir()]
    assert {name: item["spec"] for name, item in installed.items()} == {
        item["metadata"]["name"]: item["spec"] for item in committed
    }
    assert {item["metadata"]["annotations"]["helm.sh/resource-policy"] for item in installed.values()} == {"keep"}
    assert of_kind(render({"crds": {"enabled": False}}), CRD) == []


def test_the_crds_need_not_be_kept(render: Render) -> None:
    installed = of_kind(render({"crds": {"keep": False}}), CRD)
    assert installed and not any("annotations" in item["metadata"] for item in installed)


def test_selectors_match_the_operator_and_not_the_test_pod(render: Render) -> None:
    objects = render({})
    labels = {name: pod["metadata"]["labels"] for name, pod in pods_of(objects).items()}
    assert set(labels) == {"dreambooth", "dreambooth-test"}
    (service,), (policy,) = of_kind(objects, "Service"), of_kind(objects, "NetworkPolicy")
    (budget,), (deployment,) = of_kind(objects, "PodDisruptionBudget"), of_kind(objects, "Deployment")
    selectors = [service["spec"]["selector"], policy["spec"]["podSelector"]["matchLabels"]]
    selectors += [item["spec"]["selector"]["matchLabels"] for item in (budget, deployment)]
    constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors += [constraint["labelSelector"]["matchLabels"] for constraint in constraints]
    for selector in selectors:
        assert [name for name, own in labels.items() if selector.items() <= own.items()] == ["dreambooth"]
    tester = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert [name for name, own in labels.items() if tester.items() <= own.items()] == ["dreambooth-test"]


@pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (2, 1), (3, 1)])
def test_a_single_replica_has_no_disruption_budget(replicas: int, budgets: int, render: Render) -> None:
    assert len(of_kind(render({"replicaCount": replicas}), "PodDisruptionBudget")) == budgets


def test_a_digest_overrides_a_tag(render: Render) -> None:
    digest = f"sha256:{'0' * 64}"
    (deployment,) = of_kind(render({"image": {"tag": "1", "digest": digest}}), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"dreambooth-operator@{digest}"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"nameOverride": "operator"}, "dreambooth-operator"),
        ({"nameOverride": "operator", "fullnameOverride": "trainings"}, "trainings"),
    ],
)
def test_names(given: Mapping[str, str], name: str, render: Render) -> None:
    (before,), (deployment,) = (of_kind(render(values), "Deployment") for values in ({}, given))
    assert deployment["metadata"]["name"] == name
    assert deployment["spec"]["selector"] == before["spec"]["selector"]


def test_pods_without_a_user_for_platforms_that_assign_one(render: Render) -> None:
    contexts = [pod["spec"]["securityContext"] for pod in pods_of(render({"podUser": "Assigned"})).values()]
    assert contexts == [{"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}] * 2


@pytest.mark.parametrize("registry", ["registry.example:5000", "registry.example:5000/"])
def test_a_registry_comes_before_the_repositories(registry: str, render: Render) -> None:
    given = {"image": {"registry": registry, "tag": "1"}, "trainerImage": {"registry": registry, "tag": "2"}}
    (deployment,) = of_kind(render(given), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example:5000/dreambooth-operator:1"
    trainer = {"name": "DREAMBOOTH_TRAINER_IMAGE", "value": "registry.example:5000/dreambooth-trainer:2"}
    assert trainer in container["env"]


def test_the_operator_may_create_network_policies_only_if_they_are_enabled(render: Render) -> None:
    def may(values: Mapping[str, Any]) -> bool:
        rules = [rule for role in of_kind(render(values), "ClusterRole") for rule in role["rules"]]
        return any("networkpolicies" in rule["resources"] for rule in rules)

    assert may({})
    assert not may({"networkPolicies": {"enabled": False}})


def test_the_chart_works_as_a_subchart(render: Render) -> None:
    assert json.dumps(render({"global": {"any": "thing"}, "enabled": True})) == json.dumps(render({}))


def test_labels_of_pods_take_precedence_over_those_of_all_objects(render: Render) -> None:
    given = {"commonLabels": {"team": "platform", "tier": "1"}, "podLabels": {"team": "vision"}}
    (deployment,) = of_kind(render(given), "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert (labels["team"], labels["tier"]) == ("vision", "1")
    assert labels.items() >= deployment["spec"]["selector"]["matchLabels"].items()
    assert deployment["metadata"]["labels"]["team"] == "platform"
