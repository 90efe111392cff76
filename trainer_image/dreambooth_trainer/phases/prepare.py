"""Prepares the photos and chooses or checks the identifier; the first phase, called by `pipeline.py`."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel, model_validator

from dreambooth_api.failures import InvalidConfig, InvalidData, Problem
from dreambooth_api.fields import Fields, OneSubject
from dreambooth_api.model_families import find_unsupported
from dreambooth_api.training import Images
from dreambooth_trainer.data import identifier, own_class_images, prompts
from dreambooth_trainer.data.buckets import Size
from dreambooth_trainer.data.class_word import class_warnings
from dreambooth_trainer.data.identifier import Finding
from dreambooth_trainer.data.personalised import identifier_warnings, known_subjects
from dreambooth_trainer.data.photos import Photo, find_shared_photos, inspect_photos, load_photos
from dreambooth_trainer.evaluation.clip import ClipScorer
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.models.conditioning import conditioning_on
from dreambooth_trainer.process.storage import atomic_folder
from dreambooth_trainer.run import Run, words_of_subjects
from dreambooth_trainer.training.module import unfit_targets

OWN = "prior.source"
"""The field of own class images."""

REFERENCE_WORDS = 64
"""Words of the vocabulary that an identifier is compared with."""


class PreparedPhoto(BaseModel, frozen=True):
    """A photo that the model trains on."""

    file: str
    """Path in the folder of the run's photos."""
    source: str
    """Name of the original file."""
    width: int
    """Width of the upright original in pixels."""
    height: int
    """Height of the upright original in pixels."""
    caption: str | None = None
    """Its prompt, with the placeholders `{identifier}` and `{class}`; None for `subject.prompt`."""
    masked: bool = False
    """Whether it has a mask, of the same name."""
    subject: int = 0
    """Number of the subject that it shows, from 0."""


class Prepared(BaseModel, frozen=True):
    """Result of the phase."""

    findings: list[Finding]
    """The identifier of each subject."""
    photos: list[PreparedPhoto]
    """The photos, subject by subject."""
    warnings: list[str]
    """Warnings about the photos, the identifiers, the classes and the prompts."""

    @model_validator(mode="before")
    @classmethod
    def _of_one_subject(cls, record: Any) -> Any:
        """Records up to version 0.1.0 hold the identifier of the only subject."""
        return (
            {**record, "findings": [record["finding"]]} if isinstance(record, dict) and "finding" in record else record
        )

    @property
    def identifiers(self) -> list[str]:
        """The words that will mean the subjects."""
        return [one.identifier for one in self.findings]


def prepare(run: Run) -> Prepared:
    """Writes the photos into the run's folder as `01.png`, `02.png`, ... and chooses or examines the identifiers.

    Every process calls it; only the main process writes.

    Raises:
        InvalidData: lists every file that is no usable photo.
        InvalidConfig: no words of the model's vocabulary can be the identifiers, or the text encoder would truncate a
            prompt before its identifier or class.
    """
    config, fields = run.config, Fields(run.config.model_dump(by_alias=True), ())
    with run.progress.phase("prepare"):
        subjects = fields.each_subject()
        folders = [_folder_of(images, f"spec.{field}") for field, images in config.pictures.items() if field != OWN]
        # Bad photos are reported before the model, which defines the resolution, is loaded: that takes time.
        inspected = [
            one.placed(inspect_photos(place, one.fields).problems) for one, place in zip(subjects, folders, strict=True)
        ]
        if problems := list(chain(*inspected)) or find_shared_photos(config):
            raise InvalidData(problems)
        _check_machine(run, fields)
        loaded = [_load_photos(run, one, place) for one, place in zip(subjects, folders, strict=True)]
        photos = [of_subject for of_subject, _ in loaded]
        _require_class_images(run, photos)
        warnings = [*chain(*(notes for _, notes in loaded)), *_check_class_images(run, fields)]
        captions = [{photo.name: photo.caption for photo in mine if photo.caption is not None} for mine in photos]
        known = known_subjects(config.model.source)
        texts = [*chain(*(of_photos.values() for of_photos in captions)), *(one.identifier for one in known)]
        findings = _identify(run, texts)
        words = words_of_subjects(config, [one.identifier for one in findings])
        problems, cut = prompts.check(prompts.prompts_of(config, words, captions), run.model.read_length)
        if problems:
            raise InvalidConfig(problems)
        for one, subject, finding in zip(subjects, config.all_subjects.values(), findings, strict=True):
            of_words = [
                *identifier_warnings(known, subject),
                *class_warnings(subject.class_, run.model.words_to_ids),
                *finding.warnings,
            ]
            warnings += one.named(of_words)
        files = {
            _file(subject.called, number, len(mine)): (photo, which)
            for which, (subject, mine) in enumerate(zip(config.all_subjects.values(), photos, strict=True))
            for number, photo in enumerate(mine, 1)
        }
        if run.distributed.is_main:
            masks = {name: photo.mask for name, (photo, _) in files.items() if photo.mask}
            if masks:
                _write(masks, run.folder.masks)
            # Last, since its existence marks the end of the phase.
            _write({name: photo.image for name, (photo, _) in files.items()}, run.folder.photos)
        return Prepared(
            findings=findings,
            photos=[
                PreparedPhoto(
                    file=name,
                    source=photo.name,
                    width=photo.size[0],
                    height=photo.size[1],
                    caption=photo.caption,
                    masked=photo.mask is not None,
                    subject=which,
                )
                for name, (photo, which) in files.items()
            ],
            warnings=[*warnings, *cut],
        )


def _load_photos(run: Run, subject: OneSubject, folder: Path) -> tuple[list[Photo], list[str]]:
    """The photos of a subject, and warnings about them.

    Raises:
        InvalidData: lists every file that is no usable photo.
    """
    try:
        photos, warnings = load_photos(folder, subject.fields, run.resolution, run.model.size_multiple)
    except InvalidData as failure:
        raise InvalidData(subject.placed(failure.problems)) from failure
    # The training depends on their order, which must not depend on their names.
    photos.sort(key=lambda photo: photo.digest)
    return photos, subject.named(warnings)


def _check_machine(run: Run, fields: Fields) -> None:
    """Detects errors of later phases at once: settings that the model doesn't support, and a CLIP scorer that can't be
    loaded.

    Raises:
        InvalidConfig: lists the settings.
        ModelUnavailable: the CLIP scorer can't be loaded.
    """
    config = run.config
    targets = config.training.lora.targets if config.training.method == "lora" else []
    problems = [
        *find_unsupported(run.base.family, fields),
        *_unfit_resolution(config.training.resolution, run.model.size_multiple),
        *unfit_targets(run.model.denoiser, targets),
    ]
    if problems:
        raise InvalidConfig(problems)
    if config.evaluation.enabled and run.distributed.is_main:
        ClipScorer.load(config.evaluation.encoder, torch.device("cpu"))


def _unfit_resolution(resolution: int | None, multiple: int) -> Iterator[Problem]:
    if resolution is not None and resolution % multiple:
        near = max(1, round(resolution / multiple)) * multiple
        message = f"is no size of this base model, whose pictures have sides in multiples of {multiple}"
        yield Problem("spec.training.resolution", resolution, message, f"Give {near}")


def _require_class_images(run: Run, photos: Sequence[Sequence[Photo]]) -> None:
    """Checks that each class has an image for each size of its photos.

    Args:
        run: the run.
        photos: the photos of each subject.

    Raises:
        InvalidConfig: there are too few.
    """
    prior, sizes = run.config.prior, defaultdict[str, set[Size]](set)
    for (place, subject), mine in zip(run.config.all_subjects.items(), photos, strict=True):
        sizes[subject.class_] |= {photo.image.size for photo in mine}
        if prior.enabled and prior.images < (count := len(sizes[subject.class_])):
            message = f"are fewer than the {count} sizes of the photos, each of which needs class images"
            remedy = f"Give at least {count}, or set {place}.crop to center"
            raise InvalidConfig([Problem("spec.prior.images", prior.images, message, remedy)])


def _check_class_images(run: Run, fields: Fields) -> list[str]:
    """Checks own class images, and returns warnings about them.

    Raises:
        InvalidData: lists every file that can't be used.
    """
    prior = run.config.prior
    if not prior.enabled or prior.source is None:
        return []
    folder = _folder_of(prior.source, own_class_images.FIELD)
    problems, warnings = own_class_images.examine_class_images(folder, fields, run.resolution)
    if problems := problems or own_class_images.find_photos_of_the_subject(run.config):
        raise InvalidData(problems)
    return warnings


def _folder_of(images: Images, field: str) -> Path:
    """A folder of pictures. In a pod, the operator has mounted it and set the path."""
    if images.path is None:
        message, remedy = "is not a folder of this machine", f"Give {field.removeprefix('spec.')}.path"
        raise InvalidConfig([Problem(field, images.model_dump(exclude_none=True, by_alias=True), message, remedy)])
    return Path(images.path)


def _identify(run: Run, texts: Iterable[str]) -> list[Finding]:
    """Chooses or examines the identifiers.

    Args:
        run: the run.
        texts: further texts, whose words can't be chosen.
    """
    vocabulary, learns = run.model.vocabulary(), run.config.training.train_text_encoder
    findings = identifier.identify(run.config, vocabulary, run.model.words_to_ids, texts)
    if len(vocabulary) < 2:
        return findings
    prompts = [one.prompt.replace("{class}", one.class_) for one in run.config.all_subjects.values()]
    return [
        identifier.record_reach(one, reach_of(one.identifier, run.model, prompt), text_encoder_learns=learns)
        for one, prompt in zip(findings, prompts, strict=True)
    ]


@torch.no_grad()
def reach_of(word: str, model: ModelFamily, prompt: str) -> float:
    """Distance of a word's conditioning of a prompt from the average of other words.

    The distance is relative to the 0.9 quantile over words of the vocabulary, some of which may be unknown to the text
    encoder too.

    Args:
        word: the identifier.
        model: the base model.
        prompt: prompt of the photos with its `{identifier}`, the class filled in.
    """
    words = [word, *identifier.pick_words(model.vocabulary(), REFERENCE_WORDS, {word}, seed=0)]
    tokens = model.tokenize([prompt.replace("{identifier}", one) for one in words])
    rows_WD = torch.cat([value.float().flatten(1) for value in conditioning_on(model, tokens).values()], dim=1)
    distance_W = (rows_WD - rows_WD[1:].mean(0)).norm(dim=1)
    return float(distance_W[0] / distance_W[1:].quantile(0.9))


def _file(folder: str, number: int, count: int) -> str:
    """The path of a photo in the folder of the photos. The alphabetical order of the photos of a subject is their order."""
    return f"{folder}/{number:0{max(2, len(str(count)))}}.png".lstrip("/")


def _write(pictures: Mapping[str, Image.Image], target: Path) -> None:
    with atomic_folder(target) as folder:
        for name, picture in pictures.items():
            (folder / name).parent.mkdir(exist_ok=True)
            picture.save(folder / name)
