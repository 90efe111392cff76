"""The cluster that tests share: that of `KUBECONFIG`, or the test cluster, which starts with the first test that needs it."""

import gc
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

from tests.cluster import binaries, images, shared
from tests.cluster.layout import CTR, KUBECONFIG, ROOT
from tests.patience import PATIENCE

# Tests run in parallel: the time of an example has no meaning.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

UNTIL = "TESTS_UNTIL"
"""Variable with the end of a run, in seconds since 1970, where it must not take longer."""

END = float(os.environ.get(UNTIL, 0))

IMAGES = {"operator": "TEST_OPERATOR_IMAGE", "trainer": "TEST_TRAINER_IMAGE"}
"""Variables that name the project's images where the cluster is not the test cluster."""


class Cluster(NamedTuple):
    """A cluster for tests."""

    kubeconfig: Path
    """Of an administrator."""
    binaries: Path | None
    """Folder of the test cluster's binaries; None: they are on the PATH."""
    no_containers: str | None
    """Why no container can run in it; None: containers can run."""
    images: Mapping[str, str]
    """The project's images by target, where they are given."""

    def binary(self, name: str) -> str:
        """Path of a program, such as `kubectl` or `helm`."""
        return str(binaries.program(name)) if self.binaries else name

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Runs kubectl and returns what it prints."""
        return self._run("kubectl", *arguments, stdin=stdin)

    def items(self, kind: str, *options: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return list(json.loads(self.kubectl("get", kind, "--output=json", *options))["items"])

    def helm(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Runs helm and returns what it prints."""
        return self._run("helm", *arguments, stdin=stdin)

    def kill_container(self, container: str) -> None:
        """Kills the main process of a container with SIGKILL."""
        subprocess.run([*CTR, "task", "kill", "--signal", "SIGKILL", container], check=True)

    def evict(self, namespace: str, pod: str) -> None:
        """Evicts a pod, as draining its node would."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        self.kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction))

    def until_reachable(self) -> None:
        """Waits for the API server."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.kubectl("get", "--raw", "/readyz")
                return
            except AssertionError:
                assert time.monotonic() < deadline
                time.sleep(0.5)

    def _run(self, name: str, *arguments: str | Path, stdin: str | None = None) -> str:
        command = [self.binary(name), f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        # In the home directory, kubectl finds what another cluster with the same address has answered hours ago.
        environment = {**os.environ, "KUBECACHEDIR": str(self.kubeconfig.parent / "cache")}
        ended = subprocess.run(command, capture_output=True, text=True, input=stdin, env=environment)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return ended.stdout


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A cluster with the CustomResourceDefinitions, and with a node where one of the chosen tests needs it."""
    if given := os.environ.get("KUBECONFIG"):
        named = {target: os.environ[name] for target, name in IMAGES.items() if name in os.environ}
        reason = None if len(named) == len(IMAGES) else f"{' and '.join(IMAGES.values())} name no images for {given}"
        other = Cluster(Path(given), None, reason, named)
        other.kubectl("apply", "--server-side", "--filename", ROOT / "crds")
        return other
    with_node = any("node" in getattr(item, "fixturenames", ()) for item in request.session.items)
    state = shared.join(_controller(), with_node=with_node)
    return Cluster(KUBECONFIG, Path(state.binaries), state.no_node, {})


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane for one file of tests: its CustomResourceDefinitions may be changed and deleted."""
    with shared.own(tmp_path_factory.mktemp("cluster")) as (state, kubeconfig):
        yield Cluster(kubeconfig, Path(state.binaries), state.no_node, {})


@pytest.fixture(scope="session")
def kubeconfig(cluster: Cluster) -> Path:
    """A kubeconfig of an administrator, of a cluster with the CustomResourceDefinitions."""
    return cluster.kubeconfig


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Cluster:
    """A cluster that runs containers."""
    if cluster.no_containers:
        pytest.skip(f"no containers: {cluster.no_containers}")
    return cluster


@pytest.fixture(scope="session")
def loaded(node: Cluster) -> Mapping[str, str]:
    """The project's images, built from this checkout and available in the cluster, by target."""
    return node.images or {target: images.load(target) for target in IMAGES}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by what they need: `-m "not cluster"` leaves out what needs a cluster."""
    for item in items:
        needs = getattr(item, "fixturenames", ())
        if "cluster" in needs or "own_cluster" in needs:
            item.add_marker(pytest.mark.cluster)
        if "node" in needs:
            item.add_marker(pytest.mark.containers)
    if END:
        items.sort(key=_place)


def _place(item: pytest.Item) -> bytes:
    """Another one in each run, so that no test is always among those for which no time is left.

    Tests with containers keep their order: the last of them is about what all have done.
    """
    return b"" if item.get_closest_marker("containers") else hashlib.sha256(f"{END} {item.path}".encode()).digest()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Leaves out the rest of the tests when the time of a run is over."""
    if END and time.time() > END:
        pytest.skip(f"no time is left: {UNTIL}")


def pytest_collection_finish() -> None:
    """Leaves out of later garbage collections what lives as long as the process: libraries, tests. Each would take 0.4 s."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """More processes than cores, because many tests wait for other processes."""
    return (os.cpu_count() or 1) + 2


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the cluster that this run has started."""
    # Libraries report what isn't collected at the end as leaks.
    gc.unfreeze()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shared.leave(os.getpid())


def _controller() -> int:
    """The process of the whole test run."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
