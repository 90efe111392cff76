import json
from typing import Any

import yaml

from tests.charts.monitoring.prometheus import DASHBOARD, RULES
from tests.cluster.layout import ROOT
from tests.conftest import Cluster

ALL = {"serviceMonitor", "podMonitor", "rules", "dashboard"}


def rendered(cluster: Cluster, **values: Any) -> dict[str, dict[str, Any]]:
    """The rendered objects, by kind and name."""
    chart = ROOT / "charts" / "dreambooth-operator"
    given = json.dumps({"crds": {"enabled": False}, **values})
    text = cluster.helm("template", "dreambooth", chart, "--values", "-", stdin=given)
    documents = [document for document in yaml.safe_load_all(text) if document]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


def monitoring(*parts: str, **more: Any) -> dict[str, Any]:
    return {part: {"enabled": True, **more.get(part, {})} for part in parts}


def test_by_default_no_object_needs_other_crds(cluster: Cluster) -> None:
    kinds = {name.partition("/")[0] for name in rendered(cluster)}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


def test_each_part_can_be_enabled_alone(cluster: Cluster) -> None:
    made = {part: set(rendered(cluster, monitoring=monitoring(part))) - set(rendered(cluster)) for part in ALL}
    assert made == {
        "serviceMonitor": {"Service/dreambooth-metrics", "ServiceMonitor/dreambooth"},
        "podMonitor": {"PodMonitor/dreambooth-trainers"},
        "rules": {"PrometheusRule/dreambooth"},
        "dashboard": {"ConfigMap/dreambooth-dashboard"},
    }


def test_rules_and_dashboard_are_the_files_that_are_tested(cluster: Cluster) -> None:
    address = "https://example.org/monitoring.md"
    made = rendered(cluster, monitoring=monitoring(*ALL, rules={"runbooks": address}))
    assert made["PrometheusRule/dreambooth"]["spec"] == yaml.safe_load(
        RULES.read_text().replace("docs/monitoring.md", address)
    )
    assert json.loads(made["ConfigMap/dreambooth-dashboard"]["data"]["dreambooth.json"]) == json.loads(
        DASHBOARD.read_text()
    )
    assert made["ConfigMap/dreambooth-dashboard"]["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_service_monitor_finds_the_service_and_the_service_the_pods(cluster: Cluster) -> None:
    made = rendered(cluster, monitoring=monitoring(*ALL))
    labels = made["ServiceMonitor/dreambooth"]["spec"]["selector"]["matchLabels"].items()
    assert labels <= made["Service/dreambooth-metrics"]["metadata"]["labels"].items()
    assert (
        made["Service/dreambooth-metrics"]["spec"]["selector"].items()
        <= made["Deployment/dreambooth"]["spec"]["template"]["metadata"]["labels"].items()
    )


def test_the_pod_monitor_selects_the_watched_namespaces(cluster: Cluster) -> None:
    def selected(**values: Any) -> Any:
        return rendered(cluster, monitoring=monitoring("podMonitor"), **values)["PodMonitor/dreambooth-trainers"][
            "spec"
        ]["namespaceSelector"]

    assert selected() == {"any": True}
    assert selected(namespaces=["a", "b"]) == {"matchNames": ["a", "b"]}


def test_labels_are_added(cluster: Cluster) -> None:
    labels = {"labels": {"release": "prometheus"}}
    made = rendered(cluster, monitoring=monitoring(*ALL, serviceMonitor=labels, podMonitor=labels, rules=labels))
    for name in ("ServiceMonitor/dreambooth", "PodMonitor/dreambooth-trainers", "PrometheusRule/dreambooth"):
        assert made[name]["metadata"]["labels"]["release"] == "prometheus"
