"""The figures of an evaluation: fidelity to the subject, preservation of the rest of the model, diversity, prompt
fidelity.

Called by `phases/evaluate.py` and by the benchmarks with embeddings of pictures and texts by the CLIP scorer. The
report shows the figures. Every embedding is a row of unit length, so that a product of matrices holds cosines. Where
the DreamBooth paper (Ruiz et al., arXiv:2208.12242, section 4) measures with DINO or LPIPS, this project uses the CLIP
scorer of `evaluation.encoder`. Figures of different CLIP scorers can't be compared with each other, or with those of
the paper.
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
    """Generated with the seeds of `before_b_ND`."""


@dataclass(frozen=True)
class Embeddings:
    """The input of the figures. Every row has unit length."""

    photos_ND: Tensor
    """The subject's photos."""
    subject_ND: Tensor
    """The tuned model's pictures of "a [V] class"."""
    in_contexts_ND: Tensor
    """The tuned model's pictures of "a [V] class <context>", of all contexts."""
    context_N: Tensor
    """The context of each row of `in_contexts_ND`: a row number of `context_texts_CD`."""
    context_texts_CD: Tensor
    """Texts "a class <context>", without the identifier, which has no meaning for the CLIP scorer."""
    class_before_ND: Tensor
    """The base model's pictures of "a class"."""
    class_after_ND: Tensor
    """The tuned model's pictures of "a class", with the same seeds."""
    others: Sequence[OtherClass]


class Figures(JsonModel):
    """The figures of one run; JSON names are camelCase. None if a figure is not defined (see its function)."""

    subj: float
    """SUBJ: mean cosine of the subject's pictures, alone and in contexts, to its photos."""
    subj_share: float | None
    """SUBJ divided by the photos' similarity among themselves; None with a single photo."""
    pres_before: float
    """PRES of the base model: mean cosine of pictures of the class to the photos."""
    pres_after: float
    """PRES of the tuned model."""
    pres_change: float
    """PRES after - before: rises if pictures of the class become like the subject."""
    div_subject: float
    """DIV: mean 1 - cosine among the tuned model's pictures of the subject."""
    div_class_before: float
    """DIV among the base model's pictures of the class."""
    div_class_after: float
    """DIV among the tuned model's pictures of the class."""
    div_class_ratio: float | None
    """DIV of the class after / before; None if the base model's pictures are all equal."""
    keep: float | None
    """KEEP: similarity of other classes before and after, relative to the base model's similarity to itself."""
    follow: float
    """FOLLOW: share of the pictures in contexts whose nearest text is their own."""


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

    Of pictures of the subject this is SUBJ, the paper's subject fidelity (section 4.1: CLIP-I, or DINO with a DINO
    model). Of pictures of the class it is PRES (section 4.3 on the prior-preservation loss; there with DINO): the more
    the class has become like the subject, the higher it is. Its change from the base model's PRES is this project's own
    figure, as a class is similar to its subject from the start.
    """
    return float((pictures_ND @ photos_MD.T).mean())


def similarity_among(pictures_ND: Tensor) -> float:
    """Mean cosine over the distinct pairs of two or more pictures, in -1..1.

    Of the photos it is the value that SUBJ can reach: the paper's row "Real Images" (table 1). SUBJ divided by it, the
    share, is this project's own figure.
    """
    rows, columns = torch.triu_indices(len(pictures_ND), len(pictures_ND), offset=1)
    return float((pictures_ND @ pictures_ND.T)[rows, columns].mean())


def diversity(pictures_ND: Tensor) -> float:
    """DIV, mean 1 - cosine over the distinct pairs of two or more pictures of one prompt, in 0..2.

    The paper's diversity (section 4.3) with 1 - cosine of the CLIP scorer's embeddings instead of LPIPS.
    """
    return 1 - similarity_among(pictures_ND)


def keep(others: Sequence[OtherClass]) -> float | None:
    """KEEP, how well other classes are preserved; 1 for an unchanged model. This project's own figure.

    With the normalised mean embedding m of a set of pictures, and a and b two sets of seeds:

        KEEP = mean over classes cos(m(before, a), m(after, b)) / mean over classes cos(m(before, a), m(before, b))

    The figure is the ratio of the means, not the mean of the ratios, so that a class with a low similarity to itself
    does not dominate it. The tuned model uses the seeds b: the noise of few pictures then changes numerator and
    denominator in the same way, and for an unchanged model they are equal. None without other classes, and if the denominator
    is not above 0.
    """
    if not others:
        return None
    after = torch.stack([_mean(other.before_a_ND) @ _mean(other.after_b_ND) for other in others])
    itself = torch.stack([_mean(other.before_a_ND) @ _mean(other.before_b_ND) for other in others])
    return _ratio(float(after.mean()), float(itself.mean()))


def follow(pictures_ND: Tensor, texts_CD: Tensor, own_N: Tensor) -> float:
    """FOLLOW, share of the pictures whose nearest text (highest cosine) is their own, in 0..1.

    Zero-shot classification as in the CLIP paper (Radford et al., arXiv:2103.00020, section 3.1) with the contexts as
    classes. This project's own figure: the DreamBooth paper measures prompt fidelity by the mean cosine to the prompt
    (CLIP-T), whose absolute value says little. The similarity to the class, which all texts name, does not affect the
    share.

    Args:
        pictures_ND: embeddings of pictures.
        texts_CD: embeddings of the contexts' texts.
        own_N: row number of each picture's own text.
    """
    return float(((pictures_ND @ texts_CD.T).argmax(dim=1) == own_N).float().mean())


def confusion(subjects: Sequence[Embeddings]) -> tuple[tuple[float, ...], ...]:
    """The confusion matrix of the subjects: for each one, the shares of its pictures that are nearest to the photos of each.

    A picture is nearest to the photos with the highest mean cosine. Without confusion, the shares on the diagonal are 1. This
    project's own figure.

    Args:
        subjects: the embeddings of each subject.
    """
    matrix = []
    for one in subjects:
        pictures_ND = torch.cat([one.subject_ND, one.in_contexts_ND])
        near_NS = torch.stack([(pictures_ND @ other.photos_ND.T).mean(dim=1) for other in subjects], dim=1)
        counts_S = near_NS.argmax(dim=1).bincount(minlength=len(subjects))
        matrix.append(tuple((counts_S / len(pictures_ND)).tolist()))
    return tuple(matrix)


def _mean(pictures_ND: Tensor) -> Tensor:
    return torch.nn.functional.normalize(pictures_ND.mean(dim=0), dim=0)


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None
