"""The notebook, on this machine."""

from pathlib import Path

import nbformat
import pytest

from tests.examples.notebook import EXAMPLES, executed, pictures_of, text_of


def test_the_notebook_has_no_outputs() -> None:
    """They would be those of somebody's machine, and grow with each commit."""
    notebook = nbformat.read(EXAMPLES / "dreambooth.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(
        cell.outputs == [] and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code"
    )


@pytest.mark.slow
def test_the_notebook_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cells = executed(tmp_path)
    _, checked, trained, looked, generated, _ = cells
    assert text_of(checked).startswith("[")
    assert "Complete" in text_of(trained)
    assert pictures_of(looked) == 4 and "subjShare" in text_of(looked)
    assert pictures_of(generated) == 2
    assert list((tmp_path / "runs").iterdir()) == []
