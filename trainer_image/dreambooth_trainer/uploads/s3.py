"""Uploads to object storage with the protocol of S3, by fsspec.

Each object has the SHA-256 of its content as metadata, and the store checks what arrives by a checksum of the request. An object
that another program wrote has no such metadata, so it is replaced.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from fsspec.callbacks import Callback

from dreambooth_trainer.process.storage import SUMS
from dreambooth_trainer.uploads.files import COMPLETE, File

DIGEST = "sha256"
"""Name of the metadata."""
REFUSALS = {
    *("AccessDenied", "AllAccessDisabled", "AccountProblem", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken"),
    *(
        "SignatureDoesNotMatch",
        "NoSuchBucket",
        "InvalidBucketName",
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
    ),
    *("401", "403", "404"),
}
"""Codes of errors that another try does not resolve."""


class S3Store:
    """A prefix in a bucket."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet. Credentials, endpoint and region come from the environment, as with other programs."""
        import fsspec

        self._files: Any = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
        self._root = url.removeprefix("s3://").rstrip("/")

    def present(self, files: Mapping[str, File]) -> Collection[str]:
        """The files that are there with the same size and digest."""
        # Fails where the bucket is missing or forbidden, which the listing of a prefix does not always show.
        self._files.call_s3("list_objects_v2", Bucket=self._root.partition("/")[0], MaxKeys=1)
        found = self._files.find(self._root, detail=True, refresh=True)
        sizes = {name.removeprefix(f"{self._root}/"): entry["size"] for name, entry in found.items()}
        alike = [name for name, file in files.items() if sizes.get(name) == file.size]
        return {name for name in alike if self._files.metadata(self._path(name)).get(DIGEST) == files[name].digest}

    def begin(self) -> None:
        """Removes the mark of a complete upload."""
        if self._files.exists(self._path(COMPLETE)):
            self._files.rm_file(self._path(COMPLETE))

    def put(self, name: str, file: File, sent: Callable[[int], None]) -> None:
        """Uploads a file, a large one in parts."""
        if name in (SUMS, COMPLETE):
            return
        self._put(name, file, sent)

    def finish(self, files: Mapping[str, File]) -> None:
        """Uploads the list of digests and, last, the mark."""
        for name in (SUMS, COMPLETE):
            self._put(name, files[name], lambda _: None)

    def _put(self, name: str, file: File, sent: Callable[[int], None]) -> None:
        metadata = {DIGEST: file.digest}
        if isinstance(file.content, bytes):
            self._files.pipe_file(self._path(name), file.content, Metadata=metadata)
            sent(file.size)
        else:
            self._files.put_file(str(file.content), self._path(name), callback=_Sent(sent), Metadata=metadata)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


class _Sent(Callback):  # type: ignore[misc]
    """Reports the bytes of each part that is sent."""

    def __init__(self, sent: Callable[[int], None]) -> None:
        super().__init__()
        self._sent = sent

    def relative_update(self, inc: int = 1) -> None:
        """Reports further bytes."""
        self._sent(inc)


def refused(error: BaseException) -> bool:
    """Whether another try does not resolve an error: fsspec translates those of S3, which are their causes."""
    cause: BaseException | None = error
    while cause is not None:
        code = str(getattr(cause, "response", {}).get("Error", {}).get("Code", ""))
        if code in REFUSALS or type(cause).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            return True
        cause = cause.__cause__
    return isinstance(error, PermissionError)
