"""Executes the notebook as its reader does: every cell, in a folder with the example's photos."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.patience import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"


def executed(folder: Path) -> list[Any]:
    """The cells with code, with their outputs.

    Args:
        folder: working directory of the notebook.
    """
    shutil.copytree(EXAMPLES / "dog" / "photos", folder / "dog" / "photos")
    notebook = nbformat.read(EXAMPLES / "dreambooth.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=int(4 * PATIENCE), kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures_of(cell: Any) -> int:
    """The number of pictures that a cell shows."""
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def text_of(cell: Any) -> str:
    """What a cell prints and what its last line is."""
    parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "".join(parts)
