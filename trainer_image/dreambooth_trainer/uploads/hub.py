"""Uploads to a repository of the model hub, which changes in one commit: it never shows a part of an upload.

The hub knows files by their digests: it does not take a file again that it has, also after a start that was killed before the
commit.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dreambooth_trainer.uploads.files import File

TOKEN = "HF_UPLOAD_TOKEN"
"""The variable with the token for uploads, since that for downloads may be another. Default: as for downloads."""
REFUSALS = 400, 401, 403, 404, 409, 422
"""Statuses that another try does not resolve."""
ALIVE_SECONDS = 30
"""How often a file that is being sent is reported, since the hub's library does not say how much of it is sent."""


class HubStore:
    """The main branch of a repository."""

    def __init__(self, url: str, *, private: bool, message: str) -> None:
        """Connects to nothing yet.

        Args:
            url: `hf://owner/name`.
            private: whether the repository is private if it has to be created.
            message: message of the commit.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        self._hub: Any = HfApi(token=os.environ.get(TOKEN) or None)
        self._repository, self._private, self._message = url.removeprefix("hf://"), private, message
        self._additions: dict[str, Any] = {}

    def present(self, files: Mapping[str, File]) -> Collection[str]:
        """The files that are in the repository, which is created if it is missing."""
        self._hub.create_repo(self._repository, private=self._private, exist_ok=True)
        found = self._hub.get_paths_info(self._repository, list(files))
        return {one.path for one in found if one.path in files and _is_same(one, files[one.path])}

    def begin(self) -> None:
        """Nothing is to be done: nobody sees changes before the commit."""

    def put(self, name: str, file: File, sent: Callable[[int], None]) -> None:
        """Sends a large file, and remembers it for the commit, of which small files are a part."""
        from huggingface_hub import CommitOperationAdd

        addition = CommitOperationAdd(name, file.content)
        with _alive(sent):
            self._hub.preupload_lfs_files(self._repository, [addition], free_memory=False)
        sent(file.size)
        self._additions[name] = addition

    def finish(self, files: Mapping[str, File]) -> None:
        """Makes the commit, and compares the repository with the files.

        Raises:
            OSError: the repository has something else.
        """
        self._hub.create_commit(self._repository, list(self._additions.values()), commit_message=self._message)
        found = {one.path: one for one in self._hub.get_paths_info(self._repository, list(files))}
        wrong = [name for name, file in files.items() if name not in found or not _is_same(found[name], file)]
        if wrong:
            raise OSError(f"the repository has other content than was sent: {', '.join(wrong[:5])}")


@contextmanager
def _alive(sent: Callable[[int], None]) -> Iterator[None]:
    """Reports again and again that a file is being sent."""
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(ALIVE_SECONDS):
            sent(0)

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()


def _is_same(found: Any, file: File) -> bool:
    """Whether the hub has the content of a file: it says the SHA-256 of large files, and Git's digest of others."""
    if found.lfs:
        return bool(found.lfs.sha256 == file.digest)
    content = file.content if isinstance(file.content, bytes) else Path(file.content).read_bytes()
    return bool(found.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())


def refused(error: BaseException) -> bool:
    """Whether another try does not resolve an error."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None) in REFUSALS or type(error).__name__ in (
        "LocalTokenNotFoundError",
        "HFValidationError",
    )
