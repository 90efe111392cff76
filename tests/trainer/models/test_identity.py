import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dreambooth_api.model_families import FAMILIES
from dreambooth_api.training import Model
from dreambooth_trainer.models.identity import identify, read_ahead
from dreambooth_trainer.process import storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a model, of which one is not read."""
    for part in FAMILIES["StableDiffusionPipeline"].folders:
        (tmp_path / part).mkdir()
        (tmp_path / part / "diffusion_pytorch_model.safetensors").write_bytes(part.encode())
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"a variant")
    return tmp_path


def test_a_model_is_identified_without_torch(folder: Path) -> None:
    program = (
        "import sys; from dreambooth_api.training import Model; from dreambooth_trainer.models import identify; "
        f"print(identify(Model(source={str(folder)!r})).digest, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [identify(Model(source=str(folder))).digest, "False"]


def test_files_that_are_read_ahead_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, begun, allowed = list[str](), threading.Event(), threading.Event()
    sha256_of = storage.sha256_of

    def slow(path: Path) -> str:
        read.append(path.relative_to(folder).as_posix())
        begun.set()
        allowed.wait()
        return sha256_of(path)

    monkeypatch.setattr(storage, "sha256_of", slow)
    read_ahead(Model(source=str(folder)))
    begun.wait()
    threading.Timer(0.1, allowed.set).start()
    digest = identify(Model(source=str(folder))).digest
    assert sorted(read) == sorted(set(read)) and "unet/diffusion_pytorch_model.fp16.safetensors" not in read
    monkeypatch.undo()
    assert identify(Model(source=str(folder))).digest == digest


@pytest.mark.parametrize("source", ["no/such/folder", "hf://studio/tiny", "embedded://emoji"])
def test_reading_ahead_reports_no_errors(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = list[object]()
    monkeypatch.setattr(threading, "excepthook", failures.append)
    others = set(threading.enumerate())
    read_ahead(Model(source=source))
    for thread in set(threading.enumerate()) - others:
        thread.join()
    assert failures == []
