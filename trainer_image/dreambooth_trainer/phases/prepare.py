"""Prepares the photos and chooses or checks the identifier; the first phase, called by `pipeline.py`."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from PIL import Image
from pydantic import BaseModel

from dreambooth_api.contradictions import Fields
from dreambooth_api.failures import InvalidConfig, InvalidData, Problem
from dreambooth_api.model_families import find_unsupported
from dreambooth_api.training import Images
from dreambooth_trainer.data import identifier, own_class_images, prompts
from dreambooth_trainer.data.buckets import Size
from dreambooth_trainer.data.class_word import class_warnings
from dreambooth_trainer.data.folder import FIELD
from dreambooth_trainer.data.identifier import Finding
from dreambooth_trainer.data.personalised import identifier_warnings, known_subjects
from dreambooth_trainer.data.photos import inspect_photos, load_photos
from dreambooth_trainer.evaluation.clip import ClipScorer
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.models.conditioning import conditioning_on
from dreambooth_trainer.process.storage import atomic_folder
from dreambooth_trainer.run import Run
from dreambooth_trainer.training.module import unfit_targets

REFERENCE_WORDS = 64
"""Words of the vocabulary that an identifier is compared with."""


class PreparedPhoto(BaseModel, frozen=True):
    """A photo that the model trains on."""

    file: str
    """Name in the folder of the run's photos."""
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


class Prepared(BaseModel, frozen=True):
    """Result of the phase."""

    identifier: str
    """The word that will mean the subject."""
    finding: Finding
    """The properties of the identifier."""
    photos: list[PreparedPhoto]
    warnings: list[str]
    """Warnings about the photos, the identifier, the class and the prompts."""


def prepare(run: Run) -> Prepared:
    """Writes the photos into the run's folder as `01.png`, `02.png`, ... and chooses or examines the identifier.

    Every process calls it; only the main process writes.

    Raises:
        InvalidData: lists every file that is no usable photo.
        InvalidConfig: no word of the model's vocabulary can be the identifier, or the text encoder would truncate a
            prompt before its identifier or class.
    """
    config, fields = run.config, Fields(run.config.model_dump(by_alias=True), ())
    with run.progress.phase("prepare"):
        folder = _folder_of(config.subject.images, FIELD)
        # Bad photos are reported before the model, which defines the resolution, is loaded: that takes time.
        if problems := inspect_photos(folder, fields).problems:
            raise InvalidData(problems)
        _check_machine(run, fields)
        photos, warnings = load_photos(folder, fields, run.resolution, run.model.size_multiple)
        _require_class_images(run, {photo.image.size for photo in photos})
        warnings += _check_class_images(run, fields)
        # The training depends on their order, which must not depend on their names.
        photos.sort(key=lambda photo: photo.digest)
        captions = {photo.name: photo.caption for photo in photos if photo.caption is not None}
        known = known_subjects(config.model.source)
        finding = _identify(run, [*captions.values(), *(one.identifier for one in known)])
        texts = prompts.prompts_of(config, finding.identifier, captions)
        problems, cut = prompts.check(texts, run.model.read_length)
        if problems:
            raise InvalidConfig(problems)
        of_words = [
            *identifier_warnings(known, config.subject),
            *class_warnings(config.subject.class_, run.model.words_to_ids),
            *finding.warnings,
        ]
        names = _file_names(len(photos))
        if run.distributed.is_main:
            masks = {name: photo.mask for name, photo in zip(names, photos, strict=True) if photo.mask}
            if masks:
                _write(masks, run.folder.masks)
            # Last, since its existence marks the end of the phase.
            _write({name: photo.image for name, photo in zip(names, photos, strict=True)}, run.folder.photos)
        return Prepared(
            identifier=finding.identifier,
            finding=finding,
            photos=[
                PreparedPhoto(
                    file=name,
                    source=photo.name,
                    width=photo.size[0],
                    height=photo.size[1],
                    caption=photo.caption,
                    masked=photo.mask is not None,
                )
                for name, photo in zip(names, photos, strict=True)
            ],
            warnings=[*warnings, *of_words, *cut],
        )


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


def _require_class_images(run: Run, sizes: Collection[Size]) -> None:
    """Checks that there is a class image for each size of the photos.

    Raises:
        InvalidConfig: there are too few.
    """
    prior = run.config.prior
    if prior.enabled and prior.images < len(sizes):
        message = f"are fewer than the {len(sizes)} sizes of the photos, each of which needs class images"
        remedy = f"Give at least {len(sizes)}, or set subject.crop to center"
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


def _identify(run: Run, texts: Iterable[str]) -> Finding:
    """Chooses or examines the identifier.

    Args:
        run: the run.
        texts: further texts, whose words can't be chosen.
    """
    subject, training = run.config.subject, run.config.training
    vocabulary = run.model.vocabulary()
    finding = identifier.identify(run.config, vocabulary, run.model.words_to_ids, texts)
    if len(vocabulary) < 2:
        return finding
    prompt = subject.prompt.replace("{class}", subject.class_)
    reach = reach_of(finding.identifier, run.model, prompt)
    return identifier.record_reach(finding, reach, text_encoder_learns=training.train_text_encoder)


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


def _file_names(count: int) -> list[str]:
    """Names of the photos' files. Their alphabetical order is that of the photos."""
    digits = max(2, len(str(count)))
    return [f"{number:0{digits}}.png" for number in range(1, count + 1)]


def _write(pictures: Mapping[str, Image.Image], target: Path) -> None:
    with atomic_folder(target) as folder:
        for name, picture in pictures.items():
            picture.save(folder / name)
