import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.charts.monitoring.prometheus import RULES, queries
from tests.cluster.layout import ROOT
from tests.conftest import Cluster

STORIES = Path(__file__).parent / "alerts.yaml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(cluster: Cluster, *arguments: str | Path) -> None:
    ended = subprocess.run([cluster.binary("promtool"), *map(str, arguments)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_the_rules_are_valid(cluster: Cluster) -> None:
    promtool(cluster, "check", "rules", "--lint=all", "--lint-fatal", RULES)


@pytest.mark.slow
def test_each_alert_fires_and_resolves(cluster: Cluster, tmp_path: Path) -> None:
    for file in (RULES, STORIES):
        shutil.copy(file, tmp_path)
    promtool(cluster, "test", "rules", tmp_path / STORIES.name)


def test_each_alert_has_a_test_in_which_it_fires_and_resolves() -> None:
    results = [one for story in yaml.safe_load(STORIES.read_text())["tests"] for one in story["alert_rule_test"]]
    for alert in ALERTS:
        ends = [bool(one["exp_alerts"]) for one in results if one["alertname"] == alert["alert"]]
        assert (ends[0], True in ends, ends[-1]) == (False, True, False), alert["alert"]


def test_each_alert_has_a_runbook() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    for alert in ALERTS:
        name = alert["alert"]
        assert alert["annotations"]["runbook_url"] == f"docs/monitoring.md#{name.lower()}"
        (runbook,) = re.findall(rf"^### {name}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
        assert [part for part in ("**Means**", "**Look**", "**Do**") if part not in runbook] == []


def test_each_metric_of_a_query_or_rule_is_documented() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    asked = " ".join([*queries("team").values(), *(alert["expr"] for alert in ALERTS)])
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bdreambooth_[a-z_]+[a-z]\b", asked)}
    assert names and {name for name in names if f"`{name}`" not in text} == set()
