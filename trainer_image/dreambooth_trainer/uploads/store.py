"""Where files are uploaded to: one protocol for object storage and the hub."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dreambooth_api.failures import UploadFailed, UploadRefused
from dreambooth_trainer.uploads.files import File


class Store(Protocol):
    """A place of one upload."""

    def present(self, files: Mapping[str, File]) -> Collection[str]:
        """The names of the files that are there with the same content."""

    def put(self, name: str, file: File, sent: Callable[[int], None]) -> None:
        """Uploads a file.

        Args:
            name: its name.
            file: the file.
            sent: called with a number of further bytes that are sent.
        """

    def begin(self) -> None:
        """Files are about to change: from now on, the upload is not complete."""

    def finish(self, files: Mapping[str, File]) -> None:
        """All files were put."""


@contextmanager
def classified(url: str, kept: Path, refused: Callable[[BaseException], bool]) -> Iterator[None]:
    """Turns errors of a store into failures.

    Args:
        url: where files are uploaded to.
        kept: folder of the run.
        refused: whether an error is one that another try does not resolve.

    Raises:
        UploadRefused: credentials, permissions or the destination are wrong.
        UploadFailed: anything else, such as the network.
    """
    rest = f"The model and all results are kept in the folder of the run ({kept})"
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {error}".strip().rstrip(".")
        if refused(error):
            raise UploadRefused(
                f"output.upload: {url} refuses the upload ({said}). {rest}. Check the credentials, their permissions and that "
                "the destination exists, then start the run again: only the upload follows."
            ) from error
        raise UploadFailed(
            f"output.upload: the upload to {url} failed ({said}). {rest}; the next start goes on with the upload."
        ) from error
