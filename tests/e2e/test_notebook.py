"""The notebook in a cluster, by a user who has the role `edit` in one namespace."""

from pathlib import Path

import pytest

from tests.e2e.tenant import Tenant
from tests.examples.notebook import executed, pictures_of, text_of

pytestmark = pytest.mark.containers


def test_the_notebook_in_a_cluster(
    tenant: Tenant, editor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(editor))
    _, _, trained, looked, generated, _ = executed(tmp_path)
    assert "Complete" in text_of(trained)
    assert pictures_of(looked) == 4 and "subjShare" in text_of(looked)
    assert pictures_of(generated) == 2
    assert tenant.kubectl("get", "dreamboothjobs", "--output=name") == ""
