"""A fake of NVIDIA's DCGM exporter, which needs a GPU: its metrics for one GPU of one trainer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import serving

METRICS = {
    "DCGM_FI_DEV_GPU_UTIL": 90,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.4,
    "DCGM_FI_DEV_FB_USED": 20000,
    "DCGM_FI_DEV_POWER_USAGE": 350,
}


@contextmanager
def fake_dcgm_exporter(namespace: str) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Serves the metrics as long as the block lasts; yields `scrape_configs`: with and without `honor_labels`."""
    labels = f'gpu="0",UUID="GPU-1",device="nvidia0",container="trainer",namespace="{namespace}",pod="dog-0-0"'
    lines = [f"# TYPE {name} gauge\n{name}{{{labels}}} {value}\n" for name, value in METRICS.items()]

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write("".join(lines).encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with serving(Metrics) as address:
        target = {
            "targets": [address],
            "labels": {"namespace": "gpu-operator", "pod": "dcgm-exporter-x", "container": "dcgm-exporter"},
        }
        yield [
            {"job_name": f"gpus-{honor}", "honor_labels": honor, "static_configs": [target]} for honor in (False, True)
        ]
