"""Where the files are that a manifest names by a path: relative to a folder, or below a home directory (`~`)."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dreambooth_api.training import Images, TrainConfig


def expanded(path: str) -> Path:
    """A path whose beginning, `~` or `~user`, is replaced by the home directory, if there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def shortened(path: Path) -> str:
    """A path as people write it: with `~` for the home directory; the opposite of `expanded`."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (RuntimeError, ValueError):
        return str(path)


def located(folder: Path, path: str) -> Path:
    """The absolute path of a file.

    Args:
        folder: where relative paths begin.
        path: the path in the manifest; see `expanded`.
    """
    return (folder / expanded(path)).absolute()


def resolved(config: "TrainConfig", folder: Path) -> "TrainConfig":
    """Settings with absolute paths.

    Args:
        config: the settings.
        folder: where relative paths begin.
    """

    def source(name: str) -> str:
        return name if "://" in name else str(located(folder, name))

    def pictures(images: "Images") -> "Images":
        return images.model_copy(update={"path": str(located(folder, images.path)) if images.path else None})

    prior, model, evaluation = config.prior, config.model, config.evaluation
    subjects = [one.model_copy(update={"images": pictures(one.images)}) for one in config.all_subjects.values()]
    # A single file's configuration may be the name of a hub repository, which looks like a path.
    base = (
        str(located(folder, model.config)) if model.config and located(folder, model.config).exists() else model.config
    )
    return config.with_subjects(subjects).model_copy(
        update={
            "prior": prior.model_copy(update={"source": pictures(prior.source)}) if prior.source else prior,
            "model": model.model_copy(update={"source": source(model.source), "config": base}),
            "evaluation": evaluation.model_copy(update={"encoder": source(evaluation.encoder)}),
        }
    )
