"""Uploads of a finished run to a store with the protocol of S3 (moto's server), and to a fake of the hub."""

import hashlib
import json
import shutil
import signal
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from dreambooth_api.failures import StorageUnavailable, UploadFailed, UploadRefused
from dreambooth_trainer.phase_records import Ledger
from dreambooth_trainer.result import read_result
from dreambooth_trainer.uploads.upload import upload
from tests.trainer.tiny_training import Job, job_of, signal_when, wait, with_section
from tests.trainer.uploads.fake_hub import UploadHub

CANARY = "CanaryKeyThatMustNotBeSeenAnywhere"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tiny_training: Path) -> Job:
    """A finished run without an upload; not to be changed."""
    job = job_of(tiny_training, "to-upload", samples={"perPrompt": 4})
    assert job.finish() == 0, job.log.read_text()
    return job


@pytest.fixture
def job(finished: Job, tmp_path: Path) -> Job:
    """A copy of it."""
    shutil.copytree(finished.folder, tmp_path / "job")
    return Job(tmp_path / "job", finished.config, finished.cache)


def uploading(job: Job, to: str, **more: Any) -> Job:
    return with_section(job, output={"upload": {"to": to, **more}})


def upload_of(job: Job) -> str | None:
    """The last phase of a start, in this process."""
    return upload(job.run(), Ledger(job.output.state), read_result(job.output.result))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """A bucket that keeps all versions of its objects."""

    def __init__(self, url: str) -> None:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        self.client: Any = boto3.client("s3", endpoint_url=url, **keys)
        self.client.create_bucket(Bucket="results")
        self.client.put_bucket_versioning(Bucket="results", VersioningConfiguration={"Status": "Enabled"})

    @property
    def versions(self) -> dict[str, int]:
        """How often each object was written."""
        counts: dict[str, int] = {}
        for one in self.client.list_object_versions(Bucket="results").get("Versions", []):
            counts[one["Key"]] = counts.get(one["Key"], 0) + 1
        return counts

    @property
    def objects(self) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket="results").get("Contents", [])
        return {one["Key"]: self.client.get_object(Bucket="results", Key=one["Key"])["Body"].read() for one in listed}


@pytest.fixture
def environment(server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The credentials and the address of the store."""
    given = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_ENDPOINT_URL": server,
        "AWS_REGION": "us-east-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.fixture
def bucket(server: str, environment: dict[str, str]) -> Bucket:
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    return Bucket(server)


@pytest.fixture
def strict(server: str) -> Iterator[None]:
    """The store knows no key."""
    address, header = f"{server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(address, b"0", header)).close()
    yield
    urllib.request.urlopen(urllib.request.Request(address, b"inf", header)).close()


def assert_complete(objects: Mapping[str, bytes], prefix: str = "") -> None:
    """The list of digests has every file, and each has its digest."""
    listed = dict(reversed(line.split("  ", 1)) for line in objects[f"{prefix}SHA256SUMS"].decode().splitlines())
    assert {f"{prefix}{name}" for name in listed} == objects.keys() - {f"{prefix}SHA256SUMS", f"{prefix}COMPLETE"}
    for name, digest in listed.items():
        assert hashlib.sha256(objects[f"{prefix}{name}"]).hexdigest() == digest
    assert objects[f"{prefix}COMPLETE"] == b""


def files_with_the_key(job: Job) -> list[Path]:
    return [path for path in job.folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


class TestObjectStorage:
    def test_a_finished_run_is_uploaded_by_the_next_start(
        self, job: Job, bucket: Bucket, environment: dict[str, str]
    ) -> None:
        uploaded = uploading(job, "s3://results/dogs/rex")
        assert uploaded.finish(**environment) == 0, job.log.read_text()
        objects = bucket.objects
        assert_complete(objects, "dogs/rex/")
        names = {name.removeprefix("dogs/rex/") for name in objects}
        assert {"report.html", "result.json", "samples/sheet.png", "model/diffusers/model_index.json"} <= names
        assert not [name for name in names if name.startswith(("photos/", "state/", "checkpoints/"))]
        assert uploaded.termination["result"]["uploaded"] == "s3://results/dogs/rex"
        assert files_with_the_key(uploaded) == []
        before = bucket.versions
        assert uploaded.finish(**environment) == 0
        assert bucket.versions == before

    def test_an_upload_that_is_killed_goes_on(self, job: Job, bucket: Bucket, environment: dict[str, str]) -> None:
        uploaded = uploading(job, "s3://results")
        process = uploaded.start(**environment)
        signal_when(process, signal.SIGKILL, lambda: len(bucket.versions) >= 3)
        assert wait(process) == -signal.SIGKILL
        there = bucket.versions
        assert "COMPLETE" not in there, "it was not killed early enough"
        assert uploaded.finish(**environment) == 0, job.log.read_text()
        assert_complete(bucket.objects)
        after = bucket.versions
        assert len(after) > len(there) and {after[name] for name in there} == {1}

    def test_only_damaged_objects_are_replaced(self, job: Job, bucket: Bucket) -> None:
        uploaded = uploading(job, "s3://results")
        assert upload_of(uploaded) == "s3://results"
        good = bucket.objects["report.html"]
        bucket.client.put_object(Bucket="results", Key="report.html", Body=b"x" * len(good))
        (uploaded.output.state / "upload.json").unlink()
        upload_of(uploaded)
        assert_complete(bucket.objects)
        again = {name for name, count in bucket.versions.items() if count > 1}
        assert again == {"report.html", "SHA256SUMS", "COMPLETE"}

    def test_the_mark_is_removed_before_files_change(
        self, job: Job, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uploaded = uploading(job, "s3://results")
        upload_of(uploaded)
        uploaded.output.report.write_text("another report")
        (uploaded.output.state / "upload.json").unlink()
        monkeypatch.setattr("dreambooth_trainer.uploads.s3.S3Store.put", broken)
        with pytest.raises(UploadFailed):
            upload_of(uploaded)
        assert "COMPLETE" not in bucket.objects

    def test_parts_are_chosen(self, job: Job, bucket: Bucket) -> None:
        upload_of(uploading(job, "s3://results", parts=["report"]))
        assert bucket.objects.keys() == {"report.html", "result.json", "losses.jsonl", "SHA256SUMS", "COMPLETE"}

    @pytest.mark.usefixtures("bucket")
    def test_a_missing_bucket_is_refused_and_the_model_is_kept(self, job: Job, environment: dict[str, str]) -> None:
        uploaded = uploading(job, "s3://missing/rex")
        assert uploaded.finish(**environment) == UploadRefused.exit_code
        assert uploaded.termination["reason"] == "UploadRefused"
        message = uploaded.termination["message"]
        assert "bucket does not exist" in message and "kept in the folder of the run" in message
        assert uploaded.output.complete.exists() and (uploaded.output.model / "diffusers").exists()
        assert files_with_the_key(uploaded) == []

    @pytest.mark.usefixtures("bucket", "strict")
    def test_a_wrong_key_is_refused(self, job: Job) -> None:
        with pytest.raises(UploadRefused, match="Access Key Id"):
            upload_of(uploading(job, "s3://results/rex"))

    @pytest.mark.usefixtures("bucket")
    def test_missing_credentials_are_refused(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(job.folder / "none"))
        with pytest.raises(UploadRefused):
            upload_of(uploading(job, "s3://results/rex"))

    @pytest.mark.usefixtures("environment")
    def test_a_store_that_can_not_be_reached_may_be_tried_again(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(UploadFailed, match="the next start goes on"):
            upload_of(uploading(job, "s3://results/rex"))

    @pytest.mark.usefixtures("bucket")
    def test_a_model_that_changed_after_its_export_is_not_uploaded(self, job: Job) -> None:
        (job.output.model / "diffusers" / "model_index.json").write_text("{}")
        with pytest.raises(StorageUnavailable, match=r"model_index\.json has changed since the export"):
            upload_of(uploading(job, "s3://results/rex"))


def broken(*_: object) -> None:
    raise ConnectionError("the network is gone")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    with UploadHub(CANARY).serve() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        # The fake takes large files as Git LFS does, not in the hub's newer protocol.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_UPLOAD_TOKEN", CANARY)
        yield hub


class TestHub:
    def test_a_private_repository_gets_the_model_where_libraries_look_for_it(self, job: Job, hub: UploadHub) -> None:
        assert upload_of(uploading(job, "hf://studio/rex")) == "hf://studio/rex"
        assert hub.private is True and hub.commits == 1
        assert_complete(hub.files)
        assert {"model_index.json", "unet/config.json", "samples/sheet.png", "report.html"} <= hub.files.keys()
        head, text = hub.files["README.md"].decode().removeprefix("---\n").split("---\n", 1)
        card = yaml.safe_load(head)
        assert card["instance_prompt"] == "a sks dog" and "dreambooth" in card["tags"]
        assert 'from_pretrained("studio/rex")' in text and "samples/sheet.png" in text
        assert files_with_the_key(job) == []

    def test_a_second_upload_sends_only_what_is_new(self, job: Job, hub: UploadHub) -> None:
        uploaded = uploading(job, "hf://studio/rex")
        upload_of(uploaded)
        sent = list(hub.sent)
        (uploaded.output.state / "upload.json").unlink()
        upload_of(uploaded)
        assert (hub.sent, hub.commits) == (sent, 1)
        hub.files["report.html"] = b"damaged"
        (uploaded.output.state / "upload.json").unlink()
        upload_of(uploaded)
        assert (hub.sent, hub.commits) == (sent, 2)
        assert_complete(hub.files)

    def test_an_upload_that_failed_shows_nothing_and_goes_on(self, job: Job, hub: UploadHub) -> None:
        hub.fails_after = 2
        uploaded = uploading(job, "hf://studio/rex")
        with pytest.raises(UploadFailed):
            upload_of(uploaded)
        assert hub.files == {}
        hub.fails_after = None
        upload_of(uploaded)
        assert_complete(hub.files)
        assert len(hub.sent) == len(set(hub.sent)), "a file was sent twice"

    def test_a_wrong_token_is_refused(self, job: Job, hub: UploadHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_UPLOAD_TOKEN", "another")
        with pytest.raises(UploadRefused, match="401"):
            upload_of(uploading(job, "hf://studio/rex"))
        assert json.loads(job.output.result.read_text())["files"]
