"""Where the files are that a manifest names by a path: relative to a folder, or below a home directory (`~`)."""

from pathlib import Path

from dreambooth_api.training import TrainConfig


def expanded(path: str) -> Path:
    """A path whose beginning, `~` or `~user`, is replaced by the home directory, if there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def located(folder: Path, path: str) -> Path:
    """The absolute path of a file.

    Args:
        folder: where relative paths begin.
        path: the path in the manifest; see `expanded`.
    """
    return (folder / expanded(path)).absolute()


def resolved(config: TrainConfig, folder: Path) -> TrainConfig:
    """Settings with absolute paths.

    Args:
        config: the settings.
        folder: where relative paths begin.
    """

    def source(name: str) -> str:
        return name if "://" in name else str(located(folder, name))

    images, model, evaluation = config.subject.images, config.model, config.evaluation
    # A single file's configuration may be the name of a hub repository, which looks like a path.
    base = (
        str(located(folder, model.config)) if model.config and located(folder, model.config).exists() else model.config
    )
    images = images.model_copy(update={"path": str(located(folder, images.path)) if images.path else None})
    return config.model_copy(
        update={
            "subject": config.subject.model_copy(update={"images": images}),
            "model": model.model_copy(update={"source": source(model.source), "config": base}),
            "evaluation": evaluation.model_copy(update={"encoder": source(evaluation.encoder)}),
        }
    )
