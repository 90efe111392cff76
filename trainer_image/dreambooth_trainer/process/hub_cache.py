"""Sets the folder of the hub's downloads. The hub's libraries read it from the environment once, when they are
imported."""

import shutil
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

from dreambooth_trainer.process.storage import is_writable


def use_hub_cache(own: Path, environment: MutableMapping[str, str]) -> None:
    """Makes the hub's libraries, which must not be imported yet, store downloads in a folder of the run.

    Does nothing if the usual folder is writable. Else the files of the usual folder are linked into the new one, and
    used.
    """
    usual = _hub_cache(environment)
    if usual and is_writable(usual):
        return
    for path in usual.glob("models--*/**/*") if usual else ():
        link = own / path.relative_to(usual or "")
        if path.is_dir():
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            if path.is_symlink():
                link.symlink_to(path.readlink())
            elif path.parent.name == "blobs":
                link.symlink_to(path.absolute())
            elif not link.exists():
                shutil.copy(path, link)
    environment["HF_HUB_CACHE"] = str(own.absolute())


def _hub_cache(environment: Mapping[str, str]) -> Path | None:
    """The folder of the hub's downloads, by the documented variables."""
    if given := environment.get("HF_HUB_CACHE"):
        return Path(given)
    if home := environment.get("HF_HOME"):
        return Path(home) / "hub"
    try:
        cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(cache) / "huggingface" / "hub"
