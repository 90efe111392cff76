"""Every class of failure, caused in a real process: exit code and termination log of `python -m dreambooth_trainer`."""

import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.warm_start import warm_start
from dreambooth_api.failures import (
    CommunicationFailure,
    Interrupted,
    InvalidConfig,
    InvalidData,
    ModelUnavailable,
    NonFiniteLoss,
    OutOfMemory,
    Problem,
    StorageFull,
    StorageUnavailable,
    TrainerFailure,
    UploadFailed,
    UploadRefused,
    classify,
)
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.trainer.tiny_training import Job, finish, job_of, job_with_nan, signal_when, wait, write_photos

TOKEN = "hf_a_secret_of_somebody"


def assert_failed(job: Job, code: int, failure: type[TrainerFailure], *words: str) -> None:
    """The exit code and the termination log name the class, and the message all words."""
    assert (code, job.termination["exitCode"]) == (failure.exit_code, failure.exit_code)
    assert job.termination["reason"] == failure.__name__
    for word in words:
        assert word in job.termination["message"]


class TestRefusedBeforeTheStart:
    """The process ends before it imports torch."""

    def test_a_wrong_field(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "wrong-field", training={"steps": 0, "batchSize": "many"})
        code, output = job.spawn()
        assert_failed(job, code, InvalidConfig, "spec.training.steps: 0", "spec.training.batchSize: 'many'")
        assert job.termination["message"] in output

    def test_a_corrupt_photo(self, tiny_training: Path) -> None:
        photos = tiny_training / "corrupt-photos"
        shutil.copytree(tiny_training / "photos", photos)
        (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:100])
        job = job_of(tiny_training, "corrupt-photo", subject={"images": {"path": str(photos)}})
        assert_failed(job, job.spawn()[0], InvalidData, "1.png")

    def test_a_corrupt_photo_of_one_of_several_subjects(self, tiny_training: Path) -> None:
        photos = tiny_training / "corrupt-photos-of-several"
        shutil.copytree(tiny_training / "photos", photos)
        (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:100])
        alone = job_of(tiny_training, "corrupt-photo-of-several")
        subject, others = alone.config["subject"], {key: alone.config[key] for key in alone.config if key != "subject"}
        rex, tom = ({**subject, "identifier": "auto", "name": name} for name in ("rex", "tom"))
        job = replace(alone, config={**others, "subjects": [rex, tom | {"images": {"path": str(photos)}}]})
        assert_failed(job, job.spawn()[0], InvalidData, "spec.subjects[1].images", "1.png")

    @pytest.mark.parametrize("content", ["{", None])
    def test_a_configuration_that_is_no_json(self, tiny_training: Path, content: str | None) -> None:
        job = job_of(tiny_training, f"no-json-{content is None}")
        arguments = job.arguments()
        config = Path(arguments[1])
        if content is None:
            config.unlink()
        else:
            config.write_text(content)
        code, output = finish(["-m", "dreambooth_trainer", *arguments])
        assert_failed(job, code, InvalidConfig, "--config", "train.json")
        assert "Traceback" not in output


@pytest.mark.slow
class TestModelUnavailable:
    def test_no_such_folder(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "no-model", model={"source": str(tiny_training / "nowhere")})
        assert_failed(job, job.finish(), ModelUnavailable, "nowhere", "model.source")

    def test_an_incomplete_folder(self, tiny_training: Path) -> None:
        shutil.copytree(tiny_training / "model", tiny_training / "incomplete")
        shutil.rmtree(tiny_training / "incomplete" / "unet")
        job = job_of(tiny_training, "incomplete-model", model={"source": str(tiny_training / "incomplete")})
        assert_failed(job, job.finish(), ModelUnavailable, "incomplete", "model.source")

    def test_an_unreachable_hub_and_no_output_of_the_token(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "no-hub", model={"source": "hf://nobody/nothing"})
        code = job.finish(HF_TOKEN=TOKEN, HF_ENDPOINT=f"http://127.0.0.1:{free_port()}", HF_HOME=str(tiny_training))
        assert_failed(job, code, ModelUnavailable, "hf://nobody/nothing", "is set")
        assert TOKEN not in job.log.read_text() + json.dumps(job.termination)


def allow_a_gigabyte_more() -> None:
    """Limits the address space of a process that has imported everything."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 1024**3
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@pytest.mark.slow
def test_an_allocation_beyond_the_limit_of_memory(tiny_training: Path) -> None:
    """Attention between the 1024 positions of 256 pictures takes gigabytes."""
    write_photos(tiny_training / "large-photos", scale=8)
    job = job_of(
        tiny_training,
        "memory",
        subject={"images": {"path": str(tiny_training / "large-photos")}},
        training={"resolution": 512, "batchSize": 256},
        prior={"enabled": False},
    )
    code = wait(warm_start(job.arguments(), job.log, before=allow_a_gigabyte_more))
    assert_failed(job, code, OutOfMemory, "allocate", "training.batchSize")


@pytest.mark.slow
def test_a_loss_that_is_not_a_number(tiny_training: Path) -> None:
    job = job_with_nan(tiny_training, "not-a-number")
    assert_failed(
        job, job.finish(), NonFiniteLoss, "not finite in its unet (conv_out.bias)", str(job.config["model"]["source"])
    )
    assert "learningRate" not in job.termination["message"]
    assert not list(job.output.checkpoints.glob("step-*"))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["text_encoder", "vae"])
def test_weights_that_are_not_finite_are_named_and_nothing_is_cached(
    tiny_training: Path, tmp_path: Path, part: str
) -> None:
    model = shutil.copytree(tiny_training / "model", tmp_path / "model")
    file = next((model / part).glob("*.safetensors"))
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] = torch.inf
    save_file(weights, file, metadata={"format": "pt"})
    job = replace(job_of(tiny_training, f"not-finite-{part}", model={"source": str(model)}), cache=tmp_path / "cache")
    assert_failed(job, job.finish(), NonFiniteLoss, f"not finite in its {part}")
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_a_noise_schedule_without_signal_is_refused(tiny_training: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_training / "model", tmp_path / "model")
    file = model / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "rescale_betas_zero_snr": True}))
    job = replace(job_of(tiny_training, "no-signal", model={"source": str(model)}), cache=tmp_path / "cache")
    assert_failed(job, job.finish(), NonFiniteLoss, "scheduler", "rescale_betas_zero_snr")
    assert not (tmp_path / "cache").exists()


def spoiled(root: Path, to: Path, file: str, **changes: Any) -> str:
    """A copy of the model with a changed configuration."""
    model = shutil.copytree(root / "model", to / "model")
    (model / file).write_text(json.dumps({**json.loads((model / file).read_text()), **changes}))
    return str(model)


@pytest.mark.slow
class TestOrdinaryMistakes:
    """They are found before expensive work, and the exit code is never 1."""

    def test_targets_of_adapters_that_match_nothing(self, tiny_training: Path) -> None:
        targets = {"method": "lora", "lora": {"targets": ["to_q", "to_qq", "attn2"]}, "trainTextEncoder": False}
        job = job_of(tiny_training, "no-target", training=targets)
        assert_failed(
            job,
            job.finish(),
            InvalidConfig,
            "'to_qq' matches no layer of the denoiser",
            "such as to_q",
            "'attn2' matches a",
        )
        assert "prior:" not in job.log.read_text()

    def test_an_inpainting_model(self, tiny_training: Path, tmp_path: Path) -> None:
        model = spoiled(tiny_training, tmp_path, "unet/config.json", in_channels=9)
        job = job_of(tiny_training, "inpainting", model={"source": model})
        code, output = job.spawn()
        assert_failed(job, code, ModelUnavailable, "inpainting", "9 input channels")
        assert "Traceback" not in output

    def test_a_tokenizer_without_end_of_word_marks(self, tiny_training: Path, tmp_path: Path) -> None:
        model = Path(spoiled(tiny_training, tmp_path, "model_index.json"))
        for file in (model / "tokenizer").iterdir():
            file.write_text(file.read_text().replace("</w>", ""))
        job = job_of(tiny_training, "no-marks", model={"source": str(model)}, subject={"identifier": "auto"})
        assert job.finish() in (InvalidConfig.exit_code, ModelUnavailable.exit_code)

    def test_a_port_that_is_taken(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "taken-port")
        with socket.create_server(("0.0.0.0", 0)) as other:
            port = str(other.getsockname()[1])
            assert_failed(job, job.finish("--port", port), InvalidConfig, "--port", port)

    @pytest.mark.parametrize("where", ["file", "file/output", "n" * 300])
    def test_an_output_that_cannot_be_written(self, tiny_training: Path, tmp_path: Path, where: str) -> None:
        (tmp_path / "file").write_text("in the way")
        job = job_of(tiny_training, f"output-{len(where)}")
        arguments = job.arguments()
        arguments[arguments.index("--output") + 1] = str(tmp_path / where)
        code = wait(warm_start(arguments, job.log))
        assert_failed(job, code, StorageUnavailable, str(tmp_path / where)[:60], "can't be written to")

    def test_a_clip_scorer_of_another_kind(self, tiny_training: Path) -> None:
        encoder = {"enabled": True, "encoder": str(tiny_training / "model" / "text_encoder")}
        job = job_of(tiny_training, "no-clip", evaluation=encoder)
        assert_failed(job, job.spawn()[0], ModelUnavailable, "evaluation.encoder", "clip_text_model")


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 3 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    volume = tmp_path / "volume"
    volume.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(volume)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.decode()}")
    yield volume
    subprocess.run(["umount", str(volume)], check=True)


@pytest.mark.slow
def test_a_full_volume_and_more_room(tiny_training: Path, small_volume: Path) -> None:
    job = job_of(tiny_training, "full-volume")
    job.folder.mkdir()
    job.output.root.symlink_to(small_volume, target_is_directory=True)
    assert_failed(job, job.finish(), StorageFull, "volume of the output")
    assert not list(job.output.checkpoints.glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_volume)], check=True)
    assert job.finish() == 0


@pytest.mark.slow
def test_a_run_is_seen_from_outside_until_it_is_stopped(tiny_training: Path) -> None:
    job = job_of(tiny_training, "seen", training={"steps": 100_000})
    port = free_port()
    process = job.start("--port", str(port), HF_TOKEN=TOKEN)
    try:
        while (progress := answer(port, "/progress"))["step"] < 10:
            assert process.is_alive(), job.log.read_text()
            time.sleep(0.05)
        assert progress["phase"] == "train"
        assert progress["totalSteps"] == 100_000
        assert progress["identifier"] == "sks"
        metrics = answer(port, "/metrics")
        assert "dreambooth_" in metrics
        assert answer(port, "/healthz").startswith("ok")
        signal_when(process, signal.SIGTERM, lambda: True)
        assert_failed(job, wait(process), Interrupted, "after step")
        assert TOKEN not in job.log.read_text() + json.dumps([progress, metrics])
    finally:
        process.kill()


def answer(port: str, path: str) -> Any:
    """The body of an answer; asked until the server listens."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
                body = response.read().decode()
        except ConnectionError:
            time.sleep(0.05)
        except OSError as error:
            if not isinstance(getattr(error, "reason", None), ConnectionError):
                raise
            time.sleep(0.05)
        else:
            return json.loads(body) if body.startswith("{") else body
    raise TimeoutError(path)


class TestClassify:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (MemoryError(), OutOfMemory),
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), OutOfMemory),
            (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), OutOfMemory),
            (OSError(errno.ENOMEM, "Cannot allocate memory"), OutOfMemory),
            (OSError(errno.ENOSPC, "No space left on device"), StorageFull),
            (OSError(errno.EDQUOT, "Disk quota exceeded"), StorageFull),
            (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), StorageFull),
            (OSError(errno.EFBIG, "File too large"), StorageFull),
            (PermissionError(errno.EACCES, "Permission denied", "/data"), StorageUnavailable),
            (OSError(errno.EROFS, "Read-only file system", "/data"), StorageUnavailable),
            (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/data/x"), StorageUnavailable),
            (FileExistsError(errno.EEXIST, "File exists", "/data"), StorageUnavailable),
            (RuntimeError("I/O error: Permission denied (os error 13)"), StorageUnavailable),
            (ConnectionResetError("Connection reset by peer"), CommunicationFailure),
            (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), CommunicationFailure),
            (torch.distributed.DistBackendError("NCCL error in: unhandled system error"), CommunicationFailure),
            (torch.distributed.DistStoreError("Timed out after 601 seconds waiting for clients"), CommunicationFailure),
            (KeyboardInterrupt(), Interrupted),
            (ValueError("shapes differ"), None),
            (BrokenPipeError(), None),
            (FileNotFoundError(errno.ENOENT, "No such file"), None),
        ],
    )
    def test_errors_are_classified(self, error: BaseException, expected: type[TrainerFailure] | None) -> None:
        found = classify(error)
        assert (None if found is None else type(found)) is expected

    def test_the_causes_are_examined(self) -> None:
        try:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise ValueError("the checkpoint can't be written") from error
        except ValueError as error:
            assert isinstance(classify(error), StorageFull)

    def test_a_classified_failure_is_kept(self) -> None:
        failure = ModelUnavailable("not there")
        failure.__cause__ = OSError(errno.ENOSPC, "No space left on device")
        assert classify(failure) is failure


def test_problems_are_reported_at_once_with_field_value_and_remedy() -> None:
    problems = [Problem("spec.a", 1, "is too small", "Give 2"), Problem("spec.b", "x" * 200, "is long", "Shorten it")]
    first, second = str(InvalidConfig(problems)).splitlines()
    assert first == "spec.a: 1 is too small. Give 2."
    assert second.startswith("spec.b: 'xxx")
    assert len(second) < 120


def test_exit_codes_are_distinct_and_differ_from_success_and_from_an_error_of_the_trainer() -> None:
    classes: list[type[TrainerFailure]] = [
        InvalidConfig, InvalidData, ModelUnavailable, OutOfMemory, NonFiniteLoss, StorageFull, CommunicationFailure,
        Interrupted, StorageUnavailable, UploadRefused, UploadFailed,
    ]  # fmt: skip
    assert [failure.exit_code for failure in classes] == [*range(2, 11), 13, 14]
