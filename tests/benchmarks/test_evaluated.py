import torch

from benchmarks.evaluated import follow_by_kind
from dreambooth_trainer.evaluation.figures import Embeddings


def test_backgrounds_and_scenes_are_counted_apart() -> None:
    contexts = ["on the beach", "on a red background", "at night"]
    texts = torch.eye(3)
    # Two pictures of each context; one of the beach looks like red, one of red like the night.
    shows = torch.tensor([0, 1, 1, 2, 2, 2])
    embeddings = Embeddings(
        photos_ND=texts,
        subject_ND=texts,
        in_contexts_ND=texts[shows],
        context_N=torch.tensor([0, 0, 1, 1, 2, 2]),
        context_texts_CD=texts,
        class_before_ND=texts,
        class_after_ND=texts,
        others=[],
    )
    assert follow_by_kind(embeddings, contexts) == {"followBackgrounds": 0.5, "followScenes": 0.75}
