"""A Prometheus server and the queries of the dashboard. Also used by `tests/e2e/test_monitoring.py`."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.layout import ROOT
from tests.cluster.processes import Processes
from tests.patience import PATIENCE
from tests.ports import free_port

CHART_FILES = ROOT / "charts" / "dreambooth-operator" / "monitoring"
RULES = CHART_FILES / "rules.yaml"
DASHBOARD = CHART_FILES / "dashboard.json"

SCRAPE_SECONDS = 1
RATE_INTERVAL = "20s"
"""The rate interval that Grafana would choose for the scrape interval, increased for slow machines."""


class Prometheus:
    """A running Prometheus server."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._begun = time.time()

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self._address}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def samples(self, query: str) -> list[dict[str, Any]]:
        """The result of a range query since the start, with the step of a panel."""
        parameters = {"query": query, "start": self._begun, "end": time.time(), "step": SCRAPE_SECONDS}
        address = f"{self._address}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error

    def unanswered(self, queries: Mapping[str, str]) -> dict[str, str]:
        """The queries without a result so far."""
        return {name: query for name, query in queries.items() if not any(map(_number, self.samples(query)))}

    def until_answered(self, queries: Mapping[str, str]) -> None:
        """Waits until each query has a result."""
        deadline = time.monotonic() + PATIENCE
        while left := self.unanswered(queries):
            assert time.monotonic() < deadline, f"no data: {json.dumps(left, indent=1)}"
            time.sleep(SCRAPE_SECONDS)


@contextmanager
def prometheus(binary: str, folder: Path, scrapes: Sequence[Mapping[str, Any]]) -> Iterator[Prometheus]:
    """Runs a Prometheus on the loopback interface for as long as the block lasts.

    Args:
        binary: path of the program.
        folder: where it keeps what it scrapes.
        scrapes: its `scrape_configs`.
    """
    interval = f"{SCRAPE_SECONDS}s"
    config = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": list(scrapes)}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    listen = f"127.0.0.1:{free_port()}"
    flags = {
        "config.file": folder / "prometheus.yaml",
        "storage.tsdb.path": folder / "prometheus",
        "web.listen-address": listen,
    }
    processes, running = Processes(), Prometheus(f"http://{listen}")
    try:
        processes.start("prometheus", [binary, *(f"--{name}={value}" for name, value in flags.items())])
        processes.until("prometheus", running.ready, PATIENCE)
        yield running
    finally:
        processes.stop_all()


def queries(namespace: str) -> dict[str, str]:
    """The queries of the dashboard for one namespace and all clusters, by the title of the panel."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    targets = [(panel["title"], target) for panel in panels for target in panel.get("targets", ())]
    return {
        f"{title} {target['refId']}": target["expr"]
        .replace("$__rate_interval", RATE_INTERVAL)
        .replace("$namespace", namespace)
        .replace("$cluster", ".*")
        for title, target in targets
    }


def _number(series: Mapping[str, Any]) -> bool:
    return any(value != "NaN" for _, value in series["values"])
