import platform
from importlib.metadata import version

import pytest

from dreambooth_trainer.result import versions


def test_a_source_tree_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreambooth_trainer.result.LIBRARIES", ("torch", "a-source-tree"))
    found = versions()
    assert found == {"python": platform.python_version(), "torch": version("torch"), "a-source-tree": "not installed"}
