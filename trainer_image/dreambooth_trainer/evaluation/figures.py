"""The figures of an evaluation: fidelity to the subject, preservation of what was known, diversity, prompt following.

Called by `phases/evaluate.py` and by the benchmarks with embeddings of pictures and texts from one CLIP model; shown by
the report. Every embedding is a row of unit length, so that a product of matrices holds cosines. Where the DreamBooth
paper (Ruiz et al., arXiv:2208.12242, section 4) measures with DINO or LPIPS, this project uses the one encoder of
`evaluation.encoder`: figures of different encoders can't be compared with each other, nor with the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dreambooth_api.progress import JsonModel


@dataclass(frozen=True)
class OtherClass:
    """Pictures of one other class: two sets of the base model with different seeds, one of the tuned model."""

    before_a_ND: Tensor
    before_b_ND: Tensor
    after_b_ND: Tensor
    """Drawn with the seeds of `before_b_ND`."""


@dataclass(frozen=True)
class Embeddings:
    """All that the figures are computed from; every row has unit length."""

    photos_ND: Tensor
    """The subject's photos."""
    subject_ND: Tensor
    """The tuned model's pictures of "a [V] class"."""
    in_contexts_ND: Tensor
    """The tuned model's pictures of "a [V] class <context>", of all contexts."""
    context_N: Tensor
    """Which context each row of `in_contexts_ND` was drawn for: a row number of `context_texts_CD`."""
    context_texts_CD: Tensor
    """Texts "a class <context>", without the identifier, which means nothing to the encoder."""
    class_before_ND: Tensor
    """The base model's pictures of "a class"."""
    class_after_ND: Tensor
    """The tuned model's, with the same seeds."""
    others: Sequence[OtherClass]


class Figures(JsonModel):
    """The figures of one run; JSON names are camelCase. None where a figure is not defined (see its function)."""

    subj: float
    """SUBJ: mean cosine of the subject's pictures, alone and in contexts, to its photos."""
    subj_share: float | None
    """SUBJ divided by the photos' similarity among themselves; None with a single photo."""
    pres_before: float
    """PRES of the base model: mean cosine of pictures of the class to the photos."""
    pres_after: float
    """PRES of the tuned model."""
    pres_change: float
    """PRES after - before: rises when the class drifts to the subject."""
    div_subject: float
    """DIV: mean 1 - cosine among the tuned model's pictures of the subject."""
    div_class_before: float
    """DIV among the base model's pictures of the class."""
    div_class_after: float
    """DIV among the tuned model's pictures of the class."""
    div_class_ratio: float | None
    """DIV of the class after / before; None where the base model's pictures are all alike."""
    keep: float | None
    """KEEP: likeness of other classes before and after, relative to the base model's likeness to itself."""
    follow: float
    """FOLLOW: share of the pictures in contexts whose nearest text is their own."""


@dataclass(frozen=True)
class Criterion:
    """What a figure means and where it is good."""

    field: str
    """Name of the field of `Figures`."""
    title: str
    meaning: str
    goal: float
    higher_is_better: bool = True

    def met(self, value: float) -> bool:
        """Whether a value of the figure reaches the goal."""
        return value >= self.goal if self.higher_is_better else value <= self.goal


CRITERIA = (
    Criterion(
        "subj_share", "SUBJ share", "Likeness of its pictures to the photos; 1: as the photos among themselves", 0.8
    ),
    Criterion("pres_change", "PRES change", "How far the class drifted to the subject; 0: not at all", 0.03, False),
    Criterion("div_class_ratio", "DIV ratio", "How varied pictures of the class still are; 1: as before", 0.95),
    Criterion("keep", "KEEP", "How far other classes are what they were; 1: unchanged", 0.95),
    Criterion("follow", "FOLLOW", "Share of the pictures that show the scene that was asked for", 0.95),
)
"""The five figures that say whether a run went well."""


def compute(embeddings: Embeddings) -> Figures:
    """All figures of a run."""
    photos_ND = embeddings.photos_ND
    subj = similarity(torch.cat([embeddings.subject_ND, embeddings.in_contexts_ND]), photos_ND)
    pres_before = similarity(embeddings.class_before_ND, photos_ND)
    pres_after = similarity(embeddings.class_after_ND, photos_ND)
    div_before, div_after = diversity(embeddings.class_before_ND), diversity(embeddings.class_after_ND)
    return Figures(
        subj=subj,
        subj_share=_ratio(subj, similarity_among(photos_ND)) if len(photos_ND) > 1 else None,
        pres_before=pres_before,
        pres_after=pres_after,
        pres_change=pres_after - pres_before,
        div_subject=diversity(embeddings.subject_ND),
        div_class_before=div_before,
        div_class_after=div_after,
        div_class_ratio=_ratio(div_after, div_before),
        keep=keep(embeddings.others),
        follow=follow(embeddings.in_contexts_ND, embeddings.context_texts_CD, embeddings.context_N),
    )


def similarity(pictures_ND: Tensor, photos_MD: Tensor) -> float:
    """Mean cosine over all pairs of a picture and a photo, in -1..1.

    Of pictures of the subject this is SUBJ, the paper's subject fidelity (section 4.1: CLIP-I, or DINO with that
    encoder). Of pictures of the class it is PRES (section 4.3 on the prior-preservation loss; there with DINO): the
    more the class has turned into the subject, the higher. Its change from the base model's PRES is this project's own
    figure, as a class has some likeness to its subject from the start.
    """
    return float((pictures_ND @ photos_MD.T).mean())


def similarity_among(pictures_ND: Tensor) -> float:
    """Mean cosine over the distinct pairs of two or more pictures, in -1..1.

    Of the photos it is what SUBJ can reach: the paper's row "Real Images" (table 1). SUBJ divided by it, the share, is
    this project's own figure.
    """
    rows, columns = torch.triu_indices(len(pictures_ND), len(pictures_ND), offset=1)
    return float((pictures_ND @ pictures_ND.T)[rows, columns].mean())


def diversity(pictures_ND: Tensor) -> float:
    """DIV, mean 1 - cosine over the distinct pairs of two or more pictures of one prompt, in 0..2.

    The paper's diversity (section 4.3) with 1 - cosine of the encoder in place of LPIPS.
    """
    return 1 - similarity_among(pictures_ND)


def keep(others: Sequence[OtherClass]) -> float | None:
    """KEEP, how far other classes are what they were; 1 for an unchanged model. This project's own figure.

    With the normalised mean embedding m of a set of pictures, and a and b two sets of seeds:

        KEEP = mean over classes cos(m(before, a), m(after, b)) / mean over classes cos(m(before, a), m(before, b))

    The means are divided rather than the classes' ratios averaged, so that no class of little likeness to itself rules
    the figure. The tuned model draws with the seeds b: the noise of few pictures then moves numerator and denominator
    alike, and for an unchanged model they are equal. None where the base model is not like itself (denominator not
    above 0).
    """
    after = torch.stack([_mean(other.before_a_ND) @ _mean(other.after_b_ND) for other in others])
    itself = torch.stack([_mean(other.before_a_ND) @ _mean(other.before_b_ND) for other in others])
    return _ratio(float(after.mean()), float(itself.mean()))


def follow(pictures_ND: Tensor, texts_CD: Tensor, own_N: Tensor) -> float:
    """FOLLOW, share of the pictures whose nearest text (highest cosine) is their own, in 0..1.

    Zero-shot classification as in the CLIP paper (Radford et al., arXiv:2103.00020, section 3.1) with the contexts as
    classes. This project's own figure: the DreamBooth paper measures prompt fidelity by the mean cosine to the prompt
    (CLIP-T), whose height means little by itself; in a share, likeness to the class, which all texts name, is no
    matter.

    Args:
        pictures_ND: embeddings of pictures.
        texts_CD: embeddings of the contexts' texts.
        own_N: which text each picture was drawn for.
    """
    return float(((pictures_ND @ texts_CD.T).argmax(dim=1) == own_N).float().mean())


def _mean(pictures_ND: Tensor) -> Tensor:
    return torch.nn.functional.normalize(pictures_ND.mean(dim=0), dim=0)


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None
