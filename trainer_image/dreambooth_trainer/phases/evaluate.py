"""Phase `evaluate`: measures how similar the pictures are to the subject, and how the training changed the rest of the
model.

Called by `pipeline.py` in the main process with the tuned model; `run.model` is the base model. The base model's
pictures depend only on prompts, sampler and size, so they are stored in the shared cache, and the next run of the class
doesn't generate them. If that cache is read-only, they are stored in the folder of the run until its end.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreambooth_api.progress import JsonModel
from dreambooth_api.training import Sampler, TrainConfig
from dreambooth_trainer.evaluation.clip import ClipScorer
from dreambooth_trainer.evaluation.contact_sheet import Row, contact_sheet
from dreambooth_trainer.evaluation.figures import Embeddings, Figures, OtherClass, compute
from dreambooth_trainer.evaluation.pictures import BATCH, Comparison, sampler_of
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.process.storage import atomic_folder, digest_of, is_writable
from dreambooth_trainer.run import Run

SHOWN = 4
"""Pictures of a set that are stored for people."""

Key = tuple[str, Literal["base", "tuned"]]


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one prompt to generate with one model."""

    name: str
    """`subject`, `class`, `context/<number>`, or `other/<number>/a` and `b`, which differ in their seeds."""
    model: Literal["base", "tuned"]
    prompt: str
    seeds: tuple[int, ...]

    @property
    def key(self) -> Key:
        """Identifies the set within a plan."""
        return self.name, self.model


@dataclass(frozen=True)
class Pictures:
    """The stored part of a generated set."""

    embeddings_ND: Tensor
    shown: Sequence[Image.Image]
    """The first ones."""


class Evaluated(JsonModel):
    """Result of the phase."""

    figures: Figures
    """All figures."""
    comparisons: list[Comparison]
    """Pictures of the class and of the other classes."""


def evaluate(run: Run, load_trained: Callable[[], ModelFamily]) -> Evaluated:
    """Generates, embeds and compares pictures; see `embed`."""
    embeddings, comparisons = embed(run, load_trained)
    return Evaluated(figures=compute(embeddings), comparisons=comparisons)


def embed(run: Run, load_trained: Callable[[], ModelFamily]) -> tuple[Embeddings, list[Comparison]]:
    """Generates and embeds the pictures for the figures. Also called by the benchmarks, for the model of any program.

    Writes pictures and a contact sheet to `evaluation/` of the run's folder.

    Raises:
        ModelUnavailable: the CLIP scorer can't be loaded.
        Interrupted: the run must stop; finished sets of the base model are kept.
    """
    scorer = ClipScorer.load(run.config.evaluation.encoder, run.distributed.device)
    sampler, size = sampler_of(run.config.samples), run.resolution
    sets = plan(run.config, run.identifier)
    determining = [run.base.digest, run.precision, scorer.digest, sampler.model_dump(mode="json"), size]
    names = {one.key: digest_of([*determining, one.prompt, one.seeds]) for one in sets if one.model == "base"}
    shared, own = run.cache / "evaluation", run.folder.base_pictures
    found = {key: _read(shared / name) or _read(own / name) for key, name in names.items()}
    generated = {key: pictures for key, pictures in found.items() if pictures}
    cached = sum(len(pictures.embeddings_ND) for pictures in generated.values())
    total = sum(len(one.seeds) for one in sets)
    with run.progress.phase("evaluate", total=total, unit="pictures", done=cached) as phase:
        loaders: dict[str, Callable[[], ModelFamily]] = {"base": lambda: run.model, "tuned": load_trained}
        for name, load in loaders.items():
            missing = [one for one in sets if one.model == name and one.key not in generated]
            # No variable refers to the model, so that it can be freed before the next one is loaded.
            for key, pictures in _generate(run, phase, load(), scorer, missing, sampler, size) if missing else ():
                generated[key] = pictures
                if name == "base":
                    _write((shared if is_writable(shared) else own) / names[key], pictures)
        embeddings = {key: pictures.embeddings_ND for key, pictures in generated.items()}
        comparisons = _show(run.folder.root, sets, {key: pictures.shown for key, pictures in generated.items()})
        return _arrange(run, scorer, embeddings), comparisons


def plan(config: TrainConfig, identifier: str) -> list[PictureSet]:
    """The pictures to generate, and their seeds.

    A seed depends only on the prompt and the number of the picture. Both models start from the same noise if their
    pictures are compared, and every run has the same pictures of the base model for a prompt.
    """
    evaluation, class_ = config.evaluation, config.subject.class_
    count = evaluation.per_prompt
    subject = f"a {identifier} {class_}"
    sets = [PictureSet("subject", "tuned", subject, _seeds(subject, 2 * count))]
    for number, context in enumerate(evaluation.contexts):
        prompt = f"{subject} {context}"
        sets.append(PictureSet(f"context/{number}", "tuned", prompt, _seeds(prompt, count)))
    prompt, seeds = f"a {class_}", _seeds(f"a {class_}", 4 * count)
    sets += [PictureSet("class", "base", prompt, seeds), PictureSet("class", "tuned", prompt, seeds)]
    for number, other in enumerate(config.other_classes):
        prompt, seeds = f"a {other}", _seeds(f"a {other}", 2 * count)
        sets += [
            PictureSet(f"other/{number}/a", "base", prompt, seeds[:count]),
            PictureSet(f"other/{number}/b", "base", prompt, seeds[count:]),
            PictureSet(f"other/{number}/b", "tuned", prompt, seeds[count:]),
        ]
    return sets


def _seeds(prompt: str, count: int) -> tuple[int, ...]:
    """Seeds below 2^31, which almost certainly differ from those of the class images in the training."""
    digests = (hashlib.sha256(f"evaluation/{number}/{prompt}".encode()).digest() for number in range(count))
    return tuple(int.from_bytes(digest[:4], "big") >> 1 for digest in digests)


def _generate(
    run: Run,
    phase: RunningPhase,
    family: ModelFamily,
    scorer: ClipScorer,
    sets: Sequence[PictureSet],
    sampler: Sampler,
    size: int,
) -> Iterator[tuple[Key, Pictures]]:
    """Generates pictures batch by batch across the sets, and yields each set when it is complete."""
    queue = [(picture_set, seed) for picture_set in sets for seed in picture_set.seeds]
    rows: dict[Key, list[Tensor]] = defaultdict(list)
    shown: dict[Key, list[Image.Image]] = defaultdict(list)
    for start in range(0, len(queue), BATCH):
        run.stop.check()
        batch = queue[start : start + BATCH]
        images = family.generate([one.prompt for one, _ in batch], [seed for _, seed in batch], sampler, size).images
        for (one, _), image, row_D in zip(batch, images, scorer.images(images), strict=True):
            rows[one.key].append(row_D)
            shown[one.key] += [image] if len(shown[one.key]) < SHOWN else []
            if len(rows[one.key]) == len(one.seeds):
                yield one.key, Pictures(torch.stack(rows.pop(one.key)), shown.pop(one.key))
        phase.advance(len(batch))


def _write(folder: Path, pictures: Pictures) -> None:
    with atomic_folder(folder, replace=False) as staging:
        save_file({"embeddings": pictures.embeddings_ND}, staging / "embeddings.safetensors")
        for number, image in enumerate(pictures.shown):
            image.save(staging / f"{number}.png")


def _read(folder: Path) -> Pictures | None:
    """The stored pictures of a set; None if they are missing or damaged."""
    try:
        shown = [Image.open(path) for path in sorted(folder.glob("*.png"))]
        for image in shown:
            image.load()
        return Pictures(load_file(folder / "embeddings.safetensors")["embeddings"], shown)
    except (OSError, SyntaxError, KeyError, SafetensorError):
        return None


def _arrange(run: Run, scorer: ClipScorer, generated: dict[Key, Tensor]) -> Embeddings:
    evaluation, class_ = run.config.evaluation, run.config.subject.class_
    contexts = [generated[f"context/{number}", "tuned"] for number in range(len(evaluation.contexts))]
    photos = [Image.open(path) for path in sorted(run.folder.photos.glob("*.png"))]
    return Embeddings(
        photos_ND=scorer.images(photos),
        subject_ND=generated["subject", "tuned"],
        in_contexts_ND=torch.cat(contexts),
        context_N=torch.arange(len(contexts)).repeat_interleave(evaluation.per_prompt),
        context_texts_CD=scorer.texts([f"a {class_} {context}" for context in evaluation.contexts]),
        class_before_ND=generated["class", "base"],
        class_after_ND=generated["class", "tuned"],
        others=[
            OtherClass(
                before_a_ND=generated[f"other/{number}/a", "base"],
                before_b_ND=generated[f"other/{number}/b", "base"],
                after_b_ND=generated[f"other/{number}/b", "tuned"],
            )
            for number in range(len(run.config.other_classes))
        ],
    )


def _show(root: Path, sets: Sequence[PictureSet], shown: dict[Key, Sequence[Image.Image]]) -> list[Comparison]:
    """Writes the pictures that both models generated with the same seeds."""
    both = [one for one in sets if one.model == "tuned" and (one.name, "base") in shown]
    comparisons, rows = [], []
    with atomic_folder(root / "evaluation") as staging:
        for one in both:
            paths: dict[str, list[str]] = {"base": [], "tuned": []}
            for model in ("base", "tuned"):
                for number, image in enumerate(shown[one.name, model]):
                    name = f"{one.name.replace('/', '-')}-{model}-{number}.png"
                    image.save(staging / name)
                    paths[model].append(f"evaluation/{name}")
            comparisons.append(Comparison(prompt=one.prompt, before=paths["base"], after=paths["tuned"]))
            rows.append(Row(one.prompt, (shown[one.name, "base"], shown[one.name, "tuned"])))
        contact_sheet(rows, ("before", "after")).save(staging / "sheet.png")
    return comparisons
