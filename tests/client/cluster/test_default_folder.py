from pathlib import Path
from typing import Any

import pytest

from dreambooth_client.cluster.backend import default_folder
from dreambooth_client.seen import Seen


@pytest.mark.parametrize(
    ("kind", "spec", "folder"),
    [
        ("DreamBoothJob", {}, "runs/beach"),
        ("DreamBoothScene", {"jobName": "rex"}, "runs/rex/scenes/beach"),
        ("DreamBoothScene", {"model": {"source": "embedded://emoji"}}, "runs/scenes/beach"),
    ],
)
def test_pictures_belong_into_the_folder_of_their_run_if_there_is_one(
    kind: str, spec: dict[str, Any], folder: str
) -> None:
    seen = Seen({"kind": kind, "metadata": {"name": "beach"}, "spec": spec})
    assert default_folder(Path("runs"), seen) == Path(folder)
