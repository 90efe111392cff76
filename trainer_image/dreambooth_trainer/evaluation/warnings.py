"""What is wrong with a trained model by its figures, and what to change. Called by `phases/evaluate.py`.

The bounds are wider than the goals of `figures.CRITERIA`: with the default number of pictures, figures of two runs with the
same settings differed by up to .024 in PRES, .09 in DIV and .04 in KEEP (benchmarks/README.md). A warning about a good model
is worse than none about a poor one.
"""

from collections.abc import Iterator, Sequence

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.figures import Figures

LEAST_LEARNED = 0.2
"""Least share of the way from the base model's pictures of the class to the photos, by their similarity to the photos."""
MOST_PRES, LEAST_DIV, LEAST_KEEP = 0.06, 0.8, 0.9
"""Bounds of PRES change, DIV ratio and KEEP."""
LEAST_OWN = 0.5
"""Share of the pictures of one of several subjects that must be nearest to its own photos: more than those of all others."""


def figure_warnings(figures: Sequence[Figures], config: TrainConfig) -> Iterator[str]:
    """Warnings about the figures of the subjects of a run, each with a remedy."""
    for one, subject in zip(figures, config.all_subjects.values(), strict=True):
        name = f"{subject.called}: " if subject.called else ""
        yield from (name + warning for warning in _warnings(one, config, subject.class_))


def confusion_warnings(confusion: Sequence[Sequence[float]], config: TrainConfig) -> Iterator[str]:
    """Warnings about subjects most of whose pictures show others, each with a remedy.

    Args:
        confusion: see `figures.confusion`.
        config: the settings.
    """
    names = [one.called for one in config.all_subjects.values()]
    for number, (name, shares) in enumerate(zip(names, confusion, strict=True)):
        if shares[number] <= LEAST_OWN:
            others = [
                f"{other} {share:.2f}" for other, share in zip(names, shares, strict=True) if other != name and share
            ]
            yield (
                f"{name}: only {shares[number]:.2f} of its pictures are nearest to its own photos, the others to those of "
                f"{', '.join(others)}. Raise training.steps, or give more different identifiers"
            )


def _warnings(figures: Figures, config: TrainConfig, class_: str) -> Iterator[str]:
    learned = share_learned(figures)
    if learned is not None and learned < LEAST_LEARNED:
        yield (
            f"the subject is hardly learned: its pictures are about as similar to the photos (SUBJ {figures.subj:.2f}) as the "
            f"base model's pictures of the class ({figures.pres_before:.2f}). Raise training.steps or training.learningRate"
        )
    if config.prior.enabled:
        remedy = "Raise prior.weight or prior.images, or train fewer steps in another folder"
    else:
        remedy = "Set prior.enabled to true"
    if figures.pres_change > MOST_PRES:
        yield (
            f"pictures of any {class_} have become like the subject (PRES change {figures.pres_change:.2f}, "
            f"goal: at most .03). {remedy}"
        )
    if figures.div_class_ratio is not None and figures.div_class_ratio < LEAST_DIV:
        yield (
            f"pictures of a {class_} have become like each other (DIV ratio {figures.div_class_ratio:.2f}, "
            f"goal: at least .95). {remedy}"
        )
    if figures.keep is not None and figures.keep < LEAST_KEEP:
        yield f"other classes have changed (KEEP {figures.keep:.2f}, goal: at least .95). {remedy}"


def share_learned(figures: Figures) -> float | None:
    """How far the subject's pictures are on the way from the base model's pictures of the class, 0, to the photos, 1.

    With SUBJ s, PRES of the base model p, and the photos' similarity among themselves r: (s - p) / (r - p). This project's
    own figure. None with a single photo, and if the photos are as similar to such pictures as to each other.
    """
    if not figures.subj_share:
        return None
    among = figures.subj / figures.subj_share
    way = among - figures.pres_before
    return (figures.subj - figures.pres_before) / way if way > 0 else None
