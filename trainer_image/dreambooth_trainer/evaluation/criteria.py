"""The figures that have a goal. Importable without torch; `figures.py` computes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Criterion:
    """The meaning of a figure and its goal."""

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
        "subj_share", "SUBJ share", "Similarity of its pictures to the photos; 1: like the photos to each other", 0.8
    ),
    Criterion(
        "pres_change", "PRES change", "How much the class changed towards the subject; 0: not at all", 0.03, False
    ),
    Criterion("div_class_ratio", "DIV ratio", "Diversity of pictures of the class; 1: as before", 0.95),
    Criterion("keep", "KEEP", "How well other classes are preserved; 1: unchanged", 0.95),
    Criterion("follow", "FOLLOW", "Share of the pictures that show the requested scene", 0.95),
)
"""The five figures that have a goal."""
