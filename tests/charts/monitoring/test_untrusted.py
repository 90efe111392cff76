"""A malicious trainer can't affect other series in Prometheus under the limits of the PodMonitor."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests import http_server
from tests.charts.monitoring.prometheus import prometheus
from tests.charts.monitoring.test_templates import monitoring, rendered
from tests.conftest import Cluster

pytestmark = pytest.mark.slow

NAME = "dreambooth_trainer_step"
HONEST = f"# TYPE {NAME} gauge\n{NAME} 7\n"
MANY = "".join(f'{NAME}{{number="{number}"}} 1\n' for number in range(10_000))
LABELS = ",".join(f'label{number}="x"' for number in range(100))


@contextmanager
def serving(text: str) -> Iterator[str]:
    """A fake trainer with these metrics; returns its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http_server.serving(Handler) as address:
        yield address


def scrape(cluster: Cluster) -> dict[str, Any]:
    """The scrape configuration that the Prometheus Operator would generate from the PodMonitor."""
    spec = rendered(cluster, monitoring=monitoring("podMonitor"))["PodMonitor/dreambooth-trainers"]["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    return {
        "sample_limit": spec["sampleLimit"],
        "label_limit": spec["labelLimit"],
        "label_name_length_limit": spec["labelNameLengthLimit"],
        "label_value_length_limit": spec["labelValueLengthLimit"],
        "body_size_limit": spec["bodySizeLimit"],
        "honor_labels": endpoint["honorLabels"],
        "metric_relabel_configs": [
            {"source_labels": one["sourceLabels"], "regex": one["regex"], "action": one["action"]}
            for one in endpoint["metricRelabelings"]
        ],
    }


@pytest.mark.parametrize(
    "text",
    [MANY, f"{NAME}{{{LABELS}}} 1\n", f'{NAME}{{a="{"x" * 1000}"}} 1\n', HONEST + "# " + "x" * 300_000 + "\n"],
    ids=["series", "labels", "long label", "long text"],
)
def test_too_many_samples_fail_the_scrape(cluster: Cluster, tmp_path: Path, text: str) -> None:
    with serving(HONEST) as honest, serving(text) as liar:
        scrapes = [
            {"job_name": name, "static_configs": [{"targets": [target]}], **scrape(cluster)}
            for name, target in {"honest": honest, "liar": liar}.items()
        ]
        with prometheus(cluster.binary("prometheus"), tmp_path, scrapes) as watching:
            seen = {"honest": f'{NAME}{{job="honest"}} == 7', "liar": 'up{job="liar"} == 0'}
            watching.until_answered(seen)
            assert watching.samples(f'{NAME}{{job="liar"}}') == []


def test_a_trainer_can_not_write_series_of_others(cluster: Cluster, tmp_path: Path) -> None:
    lies = f'{NAME}{{namespace="other",job="operator"}} 7\ndreambooth_operator_leader 1\nup 1\n'
    with serving(lies) as liar:
        labels = {"namespace": "own"}
        scrapes = [
            {"job_name": "liar", "static_configs": [{"targets": [liar], "labels": labels}], **scrape(cluster)},
        ]
        with prometheus(cluster.binary("prometheus"), tmp_path, scrapes) as watching:
            watching.until_answered({"taken": f'{NAME}{{namespace="own",job="liar"}}'})
            assert watching.samples("dreambooth_operator_leader") == []
            assert watching.samples('{namespace="other"}') == watching.samples('{job="operator"}') == []
