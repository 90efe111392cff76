"""Folders on PersistentVolumeClaims: where pods write, and paths inside of them. Used by `decide/` and by the client of users."""

from posixpath import join, normpath
from typing import NamedTuple

from dreambooth_operator.objects.names import ANNOTATION_OUTPUT
from dreambooth_operator.objects.observed import Object


class Folder(NamedTuple):
    """A folder on a PersistentVolumeClaim."""

    claim: str
    path: str


def output_of_attempt(job: Object | None) -> Folder | None:
    """Where the pods of a Job write, by its annotation; None without a Job or annotation."""
    annotations = job["metadata"].get("annotations", {}) if job else {}
    claim, slash, path = str(annotations.get(ANNOTATION_OUTPUT, "")).partition("/")
    return Folder(claim, path) if slash else None


def inside(folder: str, path: str) -> str:
    """A path inside a folder; `..` can't leave the folder."""
    return normpath(join(folder, normpath(f"/{path}").lstrip("/")))
