"""Phase `upload`: copies the results of a finished run to object storage or to the model hub; the last phase.

It can be interrupted at any time: files that are there with the same content are not sent again. Readers of the destination
know by `COMPLETE` that all files are there, each with the digest in `SHA256SUMS`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial

from dreambooth_api.progress import JsonModel
from dreambooth_api.training import Upload
from dreambooth_trainer.phase_records import Ledger
from dreambooth_trainer.process.storage import digest_of, sha256_of
from dreambooth_trainer.result import RunResult
from dreambooth_trainer.run import Run
from dreambooth_trainer.uploads import hub, s3
from dreambooth_trainer.uploads.card import model_card
from dreambooth_trainer.uploads.files import File, files_of
from dreambooth_trainer.uploads.store import Store, classified

MEGABYTE = 1_000_000
Guard = Callable[[], AbstractContextManager[None]]
"""Turns errors of the store into failures."""


class Uploaded(JsonModel):
    """Result of the phase."""

    url: str
    files: dict[str, str]
    """SHA-256 of each file, by its name."""


def upload(run: Run, ledger: Ledger, result: RunResult) -> str | None:
    """Uploads what is not there yet, and returns the URL; None if nothing has to be uploaded. Called in the main process.

    Args:
        run: the run, which is finished.
        ledger: the records of its phases.
        result: its result.

    Raises:
        UploadRefused: credentials, permissions or the destination are wrong.
        UploadFailed: anything else, such as the network.
        Interrupted: the run must stop; the next start goes on.
    """
    wanted = run.config.output.upload
    if wanted is None:
        run.progress.skip("upload")
        return None
    key = digest_of([wanted.model_dump(mode="json"), sha256_of(run.folder.result)])
    if ledger.recall("upload", key, Uploaded):
        run.progress.skip("upload")
        return wanted.to
    card = model_card(result, samples="samples" in wanted.parts).replace("OWNER/NAME", wanted.to.removeprefix("hf://"))
    files = files_of(run.folder, wanted, result.files, card.encode())
    guarded = partial(classified, wanted.to, run.folder.root, hub.refused if wanted.on_hub else s3.refused)
    with guarded():
        store = _store(wanted, result)
        present = store.present(files)
    if missing := {name: file for name, file in files.items() if name not in present}:
        _send(run, store, guarded, files, missing)
    else:
        run.progress.skip("upload")
    done = Uploaded(url=wanted.to, files={name: file.digest for name, file in files.items()})
    ledger.record("upload", key, done, {}, {})
    return wanted.to


def _store(wanted: Upload, result: RunResult) -> Store:
    if wanted.on_hub:
        return hub.HubStore(wanted.to, private=wanted.private, message=f"{result.training.steps} steps of DreamBooth")
    return s3.S3Store(wanted.to)


def _send(run: Run, store: Store, guarded: Guard, files: Mapping[str, File], missing: Mapping[str, File]) -> None:
    total = sum(file.size for file in files.values())
    there = total - sum(file.size for file in missing.values())
    with run.progress.phase("upload", total=_megabytes(total), unit="MB", done=there // MEGABYTE) as phase:
        sent = _counted(there, phase.advance)
        with guarded():
            store.begin()
        for name, file in missing.items():
            run.stop.check()
            with guarded():
                store.put(name, file, sent)
        with guarded():
            store.finish(files)


def _counted(there: int, advance: Callable[[int], None]) -> Callable[[int], None]:
    """Reports bytes in whole megabytes."""
    bytes_sent = there

    def sent(count: int) -> None:
        nonlocal bytes_sent
        before, bytes_sent = bytes_sent // MEGABYTE, bytes_sent + count
        advance(bytes_sent // MEGABYTE - before)

    return sent


def _megabytes(count: int) -> int:
    return max(1, -(-count // MEGABYTE))
