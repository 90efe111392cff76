"""The commands that the documentation gives for a machine without a cluster, as written, one after the other."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.docs.written import ROOT, blocks, commands, is_of_cluster, run_in_shell
from tests.ports import free_port
from tests.trainer.fake_hub import FakeHub
from tests.trainer.tiny_training import hidden_gpus, settings, write_model, write_photos

README, SCENES = Path("README.md"), Path("docs/scenes.md")
SEEN = "COMPLETE", "losses.jsonl", "model/diffusers/", "model/lora/", "report.html", "result.json", "samples/"
"""The files that the README promises for its example."""


def typed(command: str, folder: Path, **environment: str) -> str:
    """The output of a command in a shell with the activated environment of the project."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    code, output = run_in_shell(
        command, folder, {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"} | environment, seconds=900
    )
    assert code == 0, f"{command}\n{output}"
    return output


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A folder with the README's manifest and photos, and the environment in which its base model, a tiny one, is on the hub."""
    (manifest,) = blocks("yaml", README)
    (tmp_path / "rex.yaml").write_text(manifest.text)
    write_photos(tmp_path / "photos")
    write_model(tmp_path / "base")
    source = yaml.safe_load(manifest.text)["spec"]["model"]["source"].removeprefix("hf://")
    with FakeHub(tmp_path / "base", source).serve() as hub:
        yield {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.mark.slow
def test_your_own_subject(rex: dict[str, str], tmp_path: Path) -> None:
    block = next(block for block in blocks("sh", README) if any("rex.yaml" in command for command in block.commands))
    validated, _, generated = (typed(command, tmp_path, **rex) for command in block.commands)
    assert "rex.yaml is valid" in validated
    pictures = [line for line in generated.splitlines() if line.endswith(".png")]
    assert len(pictures) == 9 and all((tmp_path / picture).is_file() for picture in pictures)

    (scene,) = (one for one in commands(SCENES) if not is_of_cluster(one))
    typed(scene, tmp_path, **rex)
    named = re.findall(r"^\| `(a-sks-[^`]+)` \|", (ROOT / SCENES).read_text(), re.MULTILINE)
    identifier = json.loads((tmp_path / "runs/rex/result.json").read_text())["identifier"]
    made = {path.name for path in (tmp_path / "runs/rex/generated").iterdir()}
    assert named and {name.replace("sks", identifier) for name in named} <= made

    table = re.findall(r"^\| (`[^|]+`) \|", (ROOT / README).read_text(), re.MULTILINE)
    documented = {name for row in table for name in re.findall(r"`([^`]+)`", row)}
    assert set(SEEN) <= documented
    assert [name for name in SEEN if not (tmp_path / "runs/rex" / name).exists()] == []


@pytest.mark.slow
def test_several_processes(tmp_path: Path) -> None:
    (command,) = (one for one in commands(README) if one.startswith("torchrun"))
    write_model(tmp_path / "base")
    write_photos(tmp_path / "photos")
    (tmp_path / "spec.json").write_text(json.dumps(settings(tmp_path / "base", tmp_path / "photos")))
    typed(command, tmp_path, **hidden_gpus(2), PET_MASTER_PORT=str(free_port()))
    assert (tmp_path / "run" / "COMPLETE").is_file()


def test_the_command_is_on_the_path_of_an_activated_shell() -> None:
    (command,) = (one for one in commands(README) if one.startswith("source"))
    # With a PATH of its own, because the tests may run in an activated shell.
    assert typed(f"{command} && dreambooth --version", ROOT, PATH="/usr/bin:/bin").startswith("dreambooth ")


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_make_knows_the_target(command: str) -> None:
    typed(f"{command} --dry-run", ROOT)
