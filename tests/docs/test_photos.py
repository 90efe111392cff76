"""What the README says about large photos in a ConfigMap."""

import os
from pathlib import Path

import pytest
import yaml

from tests.conftest import Cluster
from tests.operator.conftest import namespace

__all__ = ["namespace"]


@pytest.mark.parametrize(("kilobytes", "fits"), [(190, True), (200, False)])
def test_more_than_190_kb_need_server_side_apply(
    cluster: Cluster, namespace: str, tmp_path: Path, kilobytes: int, fits: bool
) -> None:
    (tmp_path / "1.jpg").write_bytes(os.urandom(kilobytes * 1000))
    made = cluster.kubectl(
        "create", "configmap", "photos", f"--from-file={tmp_path}", "--dry-run=client", "--output=yaml"
    )
    assert list(yaml.safe_load(made)["binaryData"]) == ["1.jpg"]
    apply = "apply", f"--namespace={namespace}", "--filename=-"
    if not fits:
        with pytest.raises(AssertionError, match="Too long"):
            cluster.kubectl(*apply, stdin=made)
        apply = *apply, "--server-side"
    cluster.kubectl(*apply, stdin=made)
