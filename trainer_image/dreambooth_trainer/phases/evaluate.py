"""Phase `evaluate`: measures how similar the pictures are to the subject, and how the training changed the rest of the
model.

Called by `pipeline.py` in all processes with the tuned model; `run.model` is the base model. The base model's
pictures depend only on prompts, sampler and size, so they are stored in the shared cache, and the next run of the class
doesn't generate them. If that cache is read-only, they are stored in the folder of the run until its end.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from pydantic import field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreambooth_api.progress import JsonModel
from dreambooth_api.prompts import Words
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.clip import ClipScorer
from dreambooth_trainer.evaluation.figures import Embeddings, Figures, OtherClass, compute, confusion
from dreambooth_trainer.evaluation.pictures import Comparison, sampler_of
from dreambooth_trainer.evaluation.warnings import confusion_warnings, figure_warnings
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.phases.generation import Compared, generate_together, write_comparisons
from dreambooth_trainer.process.storage import atomic_folder, digest_of, is_writable
from dreambooth_trainer.run import Run

SHOWN = 4
"""Pictures of a set that are stored for people."""

Key = tuple[str, Literal["base", "tuned"]]


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one prompt to generate with one model."""

    name: str
    """`subject`, `class`, `context/<number>`, or `other/<number>/a` and `b`, which differ in their seeds. With several
    subjects, the name of the subject is a part, and the further classes are `class/<number>`."""
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

    figures: list[Figures]
    """All figures of each subject."""
    confusion: tuple[tuple[float, ...], ...] = ()
    """See `figures.confusion`."""
    comparisons: list[Comparison]
    """Pictures of the classes and of the other classes."""
    warnings: tuple[str, ...] = ()
    """Warnings about the figures."""

    @field_validator("figures", mode="before")
    @classmethod
    def _of_one_subject(cls, figures: Any) -> Any:
        """Records up to version 0.1.0 hold those of the only subject."""
        return [figures] if isinstance(figures, dict) else figures


def evaluate(run: Run, load_trained: Callable[[], ModelFamily]) -> Evaluated:
    """Generates, embeds and compares pictures; see `embed`."""
    embeddings, comparisons = embed(run, load_trained)
    figures, confused = [compute(one) for one in embeddings], confusion(embeddings)
    warnings = (*figure_warnings(figures, run.config), *confusion_warnings(confused, run.config))
    return Evaluated(figures=figures, confusion=confused, comparisons=comparisons, warnings=warnings)


def embed(run: Run, load_trained: Callable[[], ModelFamily]) -> tuple[list[Embeddings], list[Comparison]]:
    """Generates and embeds the pictures for the figures of each subject. Also called by the benchmarks, for the model of any
    program.

    Writes pictures and a contact sheet to `evaluation/` of the run's folder.

    Raises:
        ModelUnavailable: the CLIP scorer can't be loaded.
        Interrupted: the run must stop; finished sets of the base model are kept.
    """
    scorer = ClipScorer.load(run.config.evaluation.encoder, run.distributed.device)
    sets = plan(run.config, run.words)
    of_base = PicturesOfBase(run, scorer, sets)
    total = sum(len(one.seeds) for one in sets)
    with run.progress.phase("evaluate", total=total, unit="pictures", done=of_base.stored) as phase:
        generated = dict(of_base.complete(phase))
        # No variable refers to a model, so that it can be freed before the next one is loaded.
        generated.update(generate(run, phase, load_trained(), scorer, [one for one in sets if one.model == "tuned"]))
        comparisons = _show(run, sets, {key: pictures.shown for key, pictures in generated.items()})
        return arrange(run, scorer, embeddings_in(generated.items())), comparisons


class PicturesOfBase:
    """The base model's pictures of a plan, stored ones where possible. All processes must make the same calls."""

    def __init__(self, run: Run, scorer: ClipScorer, sets: Sequence[PictureSet]) -> None:
        """Finds the stored pictures."""
        self._run, self._scorer = run, scorer
        self._sets = [one for one in sets if one.model == "base"]
        self._places = _places(run, scorer, self._sets)
        found = {key: pictures for key, folders in self._places.items() if (pictures := _first(folders))}
        # The processes may see different states of a network file system.
        self._pictures: dict[Key, Pictures] = run.distributed.share(found)

    @property
    def total(self) -> int:
        """How many pictures there are."""
        return sum(len(one.seeds) for one in self._sets)

    @property
    def stored(self) -> int:
        """How many pictures need not be generated."""
        return sum(len(pictures.embeddings_ND) for pictures in self._pictures.values())

    def complete(self, phase: RunningPhase) -> Mapping[Key, Pictures]:
        """All pictures. Those that are missing are generated and, by the main process, stored."""
        missing = [one for one in self._sets if one.key not in self._pictures]
        for key, pictures in generate(self._run, phase, self._run.model, self._scorer, missing) if missing else ():
            self._pictures[key] = pictures
            if key in self._places:
                shared, own = self._places[key]
                _write(shared if is_writable(shared.parent) else own, pictures)
        return self._pictures


def _places(run: Run, scorer: ClipScorer, sets: Sequence[PictureSet]) -> dict[Key, tuple[Path, Path]]:
    """Where the main process stores the pictures of each set of the base model: in the shared cache, or in the folder
    of the run. Empty in the other processes."""
    if not run.distributed.is_main:
        return {}
    sampler = sampler_of(run.config.samples).model_dump(mode="json")
    determining = [run.base.digest, run.precision, scorer.digest, sampler, run.resolution]
    names = {one.key: digest_of([*determining, one.prompt, one.seeds]) for one in sets}
    shared, own = run.cache / "evaluation", run.folder.base_pictures
    return {key: (shared / name, own / name) for key, name in names.items()}


def plan(config: TrainConfig, subjects: Sequence[Words]) -> list[PictureSet]:
    """The pictures to generate, and their seeds.

    A seed depends only on the prompt and the number of the picture. Both models start from the same noise if their
    pictures are compared, and every run has the same pictures of the base model for a prompt.
    """
    evaluation = config.evaluation
    count = evaluation.per_prompt
    sets = []
    for one in subjects:
        sets.append(PictureSet(_name("subject", one.name), "tuned", f"a {one}", _seeds(f"a {one}", 2 * count)))
        for number, context in enumerate(evaluation.contexts):
            prompt = f"a {one} {context}"
            sets.append(PictureSet(_name("context", one.name, number), "tuned", prompt, _seeds(prompt, count)))
    for class_ in config.classes:
        name, prompt, seeds = _class_name(config, class_), f"a {class_}", _seeds(f"a {class_}", 4 * count)
        sets += [PictureSet(name, "base", prompt, seeds), PictureSet(name, "tuned", prompt, seeds)]
    for number, other in enumerate(config.other_classes):
        prompt, seeds = f"a {other}", _seeds(f"a {other}", 2 * count)
        sets += [
            PictureSet(f"other/{number}/a", "base", prompt, seeds[:count]),
            PictureSet(f"other/{number}/b", "base", prompt, seeds[count:]),
            PictureSet(f"other/{number}/b", "tuned", prompt, seeds[count:]),
        ]
    return sets


def _name(kind: str, subject: str, *rest: int) -> str:
    """The name of a set of pictures of a subject."""
    return "/".join([kind, *([subject] if subject else []), *map(str, rest)])


def _class_name(config: TrainConfig, class_: str) -> str:
    """The name of the set of pictures of a class."""
    number = config.classes.index(class_)
    return f"class/{number}" if number else "class"


def _seeds(prompt: str, count: int) -> tuple[int, ...]:
    """Seeds below 2^31, which almost certainly differ from those of the class images in the training."""
    digests = (hashlib.sha256(f"evaluation/{number}/{prompt}".encode()).digest() for number in range(count))
    return tuple(int.from_bytes(digest[:4], "big") >> 1 for digest in digests)


def generate(
    run: Run, phase: RunningPhase, family: ModelFamily, scorer: ClipScorer, sets: Sequence[PictureSet]
) -> Iterator[tuple[Key, Pictures]]:
    """Generates pictures batch by batch across the sets, and yields each set when it is complete."""
    queue = [(one, number) for one in sets for number in range(len(one.seeds))]

    def embedded(images: Sequence[Image.Image]) -> list[tuple[Tensor, Image.Image]]:
        return list(zip(scorer.images(images), images, strict=True))

    wanted = [(one.prompt, one.seeds[number]) for one, number in queue]
    rows: list[Tensor] = []
    shown: list[Image.Image] = []
    made = generate_together(run, phase, family, wanted, embedded)
    for (one, number), (row_D, image) in zip(queue, made, strict=True):
        rows.append(row_D)
        shown += [image] if number < SHOWN else []
        if number + 1 == len(one.seeds):
            yield one.key, Pictures(torch.stack(rows), shown)
            rows, shown = [], []


def _write(folder: Path, pictures: Pictures) -> None:
    with atomic_folder(folder, replace=False) as staging:
        save_file({"embeddings": pictures.embeddings_ND}, staging / "embeddings.safetensors")
        for number, image in enumerate(pictures.shown):
            image.save(staging / f"{number}.png")


def _first(folders: Iterable[Path]) -> Pictures | None:
    """The stored pictures of a set in the first folder that has them."""
    return next((pictures for folder in folders if (pictures := _read(folder))), None)


def _read(folder: Path) -> Pictures | None:
    """The stored pictures of a set; None if they are missing or damaged."""
    try:
        shown = [Image.open(path) for path in sorted(folder.glob("*.png"))]
        for image in shown:
            image.load()
        return Pictures(load_file(folder / "embeddings.safetensors")["embeddings"], shown)
    except (OSError, SyntaxError, KeyError, SafetensorError):
        return None


def embeddings_in(pictures: Iterable[tuple[Key, Pictures]]) -> dict[Key, Tensor]:
    """The embeddings of sets."""
    return {key: of_set.embeddings_ND for key, of_set in pictures}


def arrange(run: Run, scorer: ClipScorer, generated: Mapping[Key, Tensor]) -> list[Embeddings]:
    """The input of the figures of each subject, from the embeddings of the sets of a plan.

    The sets of other classes may be missing, and those of the tuned model may lack their last pictures: those of the base model
    with the same seeds then don't count.
    """

    def same_seeds(name: str) -> Tensor:
        return generated[name, "base"][: len(generated[name, "tuned"])]

    others = [
        OtherClass(
            before_a_ND=generated[f"other/{number}/a", "base"],
            before_b_ND=same_seeds(f"other/{number}/b"),
            after_b_ND=generated[f"other/{number}/b", "tuned"],
        )
        for number in range(len(run.config.other_classes))
        if (f"other/{number}/b", "tuned") in generated
    ]

    def of_subject(words: Words) -> Embeddings:
        texts = [f"a {words.class_} {context}" for context in run.config.evaluation.contexts]
        contexts = [generated[_name("context", words.name, number), "tuned"] for number in range(len(texts))]
        photos = [Image.open(path) for path in sorted((run.folder.photos / words.name).glob("*.png"))]
        name = _class_name(run.config, words.class_)
        return Embeddings(
            photos_ND=scorer.images(photos),
            subject_ND=generated[_name("subject", words.name), "tuned"],
            in_contexts_ND=torch.cat(contexts),
            context_N=torch.arange(len(contexts)).repeat_interleave(len(contexts[0])),
            context_texts_CD=scorer.texts(texts),
            class_before_ND=same_seeds(name),
            class_after_ND=generated[name, "tuned"],
            others=others,
        )

    return [of_subject(words) for words in run.words]


def _show(run: Run, sets: Sequence[PictureSet], shown: dict[Key, Sequence[Image.Image]]) -> list[Comparison]:
    """The pictures that both models generated with the same seeds; the main process writes them."""
    both = [one for one in sets if one.model == "tuned" and (one.name, "base") in shown]

    def named(name: str, model: Literal["base", "tuned"]) -> dict[str, Image.Image]:
        prefix = f"{name.replace('/', '-')}-{model}"
        return {f"{prefix}-{number}.png": image for number, image in enumerate(shown[name, model])}

    rows = [Compared(one.prompt, named(one.name, "base"), named(one.name, "tuned")) for one in both]
    return write_comparisons(run, run.folder.evaluation, rows)
