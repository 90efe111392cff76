"""What is known of a workload, in words."""

from dreambooth_api.printing import one_line
from dreambooth_api.status import SceneProgress
from dreambooth_client.seen import Seen


def done(seen: Seen) -> str:
    """What is done of how much: steps of a training, pictures of a scene."""
    progress = seen.status.progress
    if progress is None:
        return ""
    if isinstance(progress, SceneProgress):
        return f"{progress.pictures.done}/{progress.pictures.total} pictures" if progress.pictures else ""
    if progress.phase == "prior" and progress.class_images:
        return f"{progress.class_images.done}/{progress.class_images.total} class images"
    return f"{progress.step}/{progress.total_steps} steps" if progress.total_steps else ""


def loss(seen: Seen) -> str:
    """The loss on the photos."""
    value = getattr(seen.status.progress, "loss", None)
    return f"{value:.4g}" if value is not None else ""


def left(seen: Seen) -> str:
    """How long the trainer's phase takes, while it runs."""
    progress = seen.status.progress
    return brief(progress.eta_seconds) if progress and progress.eta_seconds and seen.phase == "Running" else ""


def details(seen: Seen) -> list[str]:
    """What is known of the progress: what is done, the loss and the time left."""
    value, time = loss(seen), left(seen)
    parts = [done(seen), f"loss {value}" if value else "", f"{time} left" if time else ""]
    return [part for part in parts if part]


def why(seen: Seen) -> str:
    """Why it waits, or has failed."""
    return "" if seen.phase in ("Running", "Complete") else one_line(seen.status.message or "")


def brief(seconds: float) -> str:
    """A duration in its largest unit, as kubectl writes ages: 40s, 12m, 3h, 5d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"
