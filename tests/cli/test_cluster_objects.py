"""Tests of `dreambooth validate` with DreamBoothRuntimes and DreamBoothScenes."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from dreambooth_cli import app
from tests.cli.test_commands import MANIFEST, RUNNER

RUNTIME = """
apiVersion: dreambooth.io/v1alpha1
kind: DreamBoothRuntime
metadata: {name: a100}
spec:
  tolerations: [{key: gpu, operator: Exists}]
"""
WRONG = """
apiVersion: dreambooth.io/v1alpha1
kind: DreamBoothRuntime
metadata: {name: b200}
spec:
  env: [{name: A, value: "1"}, {name: A, value: "2"}]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def validated(*documents: str) -> Result:
    Path("file.yaml").write_text("---".join(documents))
    return RUNNER.invoke(app, ["validate", "file.yaml"])


def test_valid_runtimes() -> None:
    result = validated(RUNTIME, RUNTIME.replace("a100", "h100"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "file.yaml is valid: DreamBoothRuntime a100, DreamBoothRuntime h100\n"


@pytest.mark.parametrize(
    ("text", "replacement", "line"),
    [
        ("name: b200", "name: B_200", "metadata.name: 'B_200' has the wrong form"),
        ("spec:", "spec:\n  limitz: {}", "spec.limitz: {} is an unknown field. Write limits."),
        ("v1alpha1", "v1", "apiVersion: 'dreambooth.io/v1' "),
        ('{name: A, value: "1"}, ', "", None),
    ],
)
def test_one_that_is_wrong(text: str, replacement: str, line: str | None) -> None:
    result = validated(WRONG.replace(text, replacement))
    if line is None:
        assert (result.exit_code, result.stderr) == (0, "")
    else:
        assert result.exit_code == 2 and result.stdout == ""
        assert any(words.strip().startswith(line) for words in result.stderr.splitlines()), result.stderr


def test_a_rule_over_several_fields() -> None:
    result = validated(WRONG)
    assert result.exit_code == 2
    assert result.stderr == "file.yaml has 1 problem:\n  spec.env[1].name: 'A' is set twice. Remove one of them.\n"


def test_problems_name_the_runtime_in_a_file_with_several_documents() -> None:
    result = validated(RUNTIME, WRONG)
    assert result.exit_code == 2
    assert "  b200 spec.env[1].name: 'A' is set twice." in result.stderr


def test_a_file_with_a_job_and_a_runtime() -> None:
    Path("photos").mkdir()
    Image.new("RGB", (64, 64)).save("photos/1.png")
    result = validated(MANIFEST, RUNTIME)
    assert result.exit_code == 0
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        "file.yaml is valid: rex",
        "file.yaml is valid: DreamBoothRuntime a100",
    ]
    result = validated(MANIFEST, WRONG)
    assert result.exit_code == 2 and "b200 spec.env[1].name" in result.stderr and "valid: rex" in result.stdout
    result = validated(MANIFEST.replace("dog", '""'), RUNTIME)
    assert result.exit_code == 2 and "spec.subject.class" in result.stderr and result.stdout == ""


def test_run_needs_a_job() -> None:
    Path("file.yaml").write_text(RUNTIME)
    result = RUNNER.invoke(app, ["run", "file.yaml"])
    assert result.exit_code == 2 and "kind: 'DreamBoothRuntime'" in result.stderr


SCENE = """
apiVersion: dreambooth.io/v1alpha1
kind: DreamBoothScene
metadata: {name: beach}
spec:
  jobName: rex
  prompts: ["a {identifier} {class} on a beach"]
"""


def test_a_valid_scene() -> None:
    result = validated(SCENE)
    assert (result.exit_code, result.stdout) == (0, "file.yaml is valid: DreamBoothScene beach\n")


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("beach}", "a-scene-with-a-name-that-is-longer-than-its-pods-allow}", "metadata.name"),
        ("  jobName: rex\n", "", "spec.jobName"),
        ("  jobName: rex\n", "  model: {source: pvc://runs/rex}\n", "spec.volumes.output.claimName"),
        ("  jobName: rex\n", "  model: {source: hf://a/b}\n", "Set model.identifier, or write the word"),
        ("{class}", "{Subject}", "spec.prompts[0]"),
        ("  jobName", "  prompt: a\n  jobName", "spec.prompt: 'a'"),
        ("  jobName", "  resources: {nodes: 2}\n  jobName", "spec.resources.nodes"),
    ],
)
def test_a_wrong_scene(right: str, wrong: str, said: str) -> None:
    result = validated(SCENE.replace(right, wrong))
    assert result.exit_code == 2
    assert said in result.stderr
