"""Reads manifests as kubectl does, and reports everything that is wrong with one; used by `validate` and `run`."""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dreambooth_api.cluster_rules import check_cluster_sections
from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.fields import Fields
from dreambooth_api.files import resolved
from dreambooth_api.job import KIND, DreamBoothJob
from dreambooth_api.training import MOST_SUBJECTS, TrainConfig
from dreambooth_api.validation import check_contradictions, check_fields, check_files_of
from dreambooth_api.workload import API_VERSION
from dreambooth_client.config_map import photos_of, unpacked
from dreambooth_trainer.data.captions import read_captions
from dreambooth_trainer.data.class_word import class_warnings
from dreambooth_trainer.data.clip_tokenizer import tokenizer_at_hand
from dreambooth_trainer.data.folder import read_folder
from dreambooth_trainer.data.identifier import identify
from dreambooth_trainer.data.own_class_images import INSPECTIONS, find_photos_of_the_subject
from dreambooth_trainer.data.personalised import KnownSubject, identifier_warnings, known_subjects
from dreambooth_trainer.data.photos import find_shared_photos
from dreambooth_trainer.data.prompts import check, prompts_of
from dreambooth_trainer.run import default_cache, words_of_subjects


@dataclass(frozen=True)
class Manifest:
    """A sound manifest."""

    job: DreamBoothJob
    """What stands in it."""
    config: TrainConfig
    """The settings of the trainer, paths resolved against the manifest's folder."""
    warnings: list[str]
    """What its author should know."""


def read(file: Path) -> Manifest | list[Problem]:
    """Reads the one DreamBoothJob of a YAML file.

    Returns:
        The manifest, or everything that is wrong with it and with the files that it names.
    """
    return read_job(documents_of(file), file)


def read_job(documents: list[Any] | Problem, file: Path) -> Manifest | list[Problem]:
    """Reads the one DreamBoothJob among the documents of a file; see `read`."""
    if isinstance(documents, Problem):
        return [documents]
    document = _job_among(documents, file)
    if isinstance(document, Problem):
        return [document]
    document, problems = with_pictures_at_hand(document, documents)
    job, invalid = check_fields(document, DreamBoothJob, "")
    problems += invalid
    missing, warnings = check_files_of(document.get("spec"), problems, file.parent, INSPECTIONS)
    problems += check_contradictions(document.get("spec"), problems)
    if job is None or problems:
        return [*problems, *missing, *(check_cluster_sections(job) if job else [])]
    config = resolved(job.spec.train_config, file.parent)
    known = known_subjects(config.model.source)
    too_long, notes = _check_words(config, known)
    if problems := [
        *missing,
        *check_cluster_sections(job),
        *find_photos_of_the_subject(config),
        *find_shared_photos(config),
        *too_long,
    ]:
        return problems
    of_words = [
        warning
        for one, subject in zip(_fields(config).each_subject(), config.all_subjects.values(), strict=True)
        for warning in one.named(identifier_warnings(known, subject))
    ]
    return Manifest(job, config, [*warnings, *of_words, *notes])


def _check_words(config: TrainConfig, known: Sequence[KnownSubject]) -> tuple[list[Problem], list[str]]:
    """Finds prompts that are longer than the text encoder reads, and a class that the model hardly knows, as the trainer does,
    if the tokenizer is at hand.

    Args:
        config: valid settings.
        known: the subjects that the base model knows.

    Returns:
        Problems, and warnings.
    """
    tokenizer = tokenizer_at_hand(config.model)
    if tokenizer is None:
        return [], []
    captions = _captions_of(config)
    texts = [*(text for of_photos in captions for text in of_photos.values()), *(one.identifier for one in known)]
    try:
        findings = identify(config, tokenizer.vocabulary, tokenizer.words_to_ids, texts)
    except InvalidConfig as failure:
        return list(failure.problems), []
    words = words_of_subjects(config, [one.identifier for one in findings])
    problems, cut = check(prompts_of(config, words, captions), tokenizer.read_length)
    return problems, [*(note for one in config.classes for note in class_warnings(one, tokenizer.words_to_ids)), *cut]


def _captions_of(config: TrainConfig) -> list[Mapping[str, str]]:
    """The captions of the photos of each subject, those in the manifest if the photos are not at hand; none if one of them is
    wrong."""
    found: list[Mapping[str, str]] = []
    for one, subject in zip(_fields(config).each_subject(), config.all_subjects.values(), strict=True):
        if subject.images.path is None:
            found.append(subject.captions)
        else:
            captions = read_captions(read_folder(Path(subject.images.path)), one.fields)
            found.append({} if captions.problems else captions.by_photo)
    return found


def _fields(config: TrainConfig) -> Fields:
    return Fields(config.model_dump(by_alias=True), ())


def with_pictures_at_hand(document: dict[Any, Any], documents: list[Any]) -> tuple[dict[Any, Any], list[Problem]]:
    """The manifest with folders of pictures instead of ConfigMaps that stand in the same file, and what is wrong with these."""
    problems: list[Problem] = []
    subjects: list[tuple[str | int, ...]] = [("subjects", number, "images") for number in range(MOST_SUBJECTS)]
    for place in [("subject", "images"), *subjects, ("prior", "source")]:
        names = _config_maps(document, place)
        found = [photos_of(documents, name) for name in names]
        problems += [problem for _, wrong in found for problem in wrong]
        at_hand = [photos for photos, _ in found if photos is not None]
        if at_hand and len(at_hand) == len(names):
            pictures = {name: content for photos in at_hand for name, content in photos.items()}
            cache = default_cache()
            folder = unpacked(pictures, cache / "photos" if cache else None)
            document = deepcopy(document)
            source = _at(document, place)
            for field in ("configMap", "configMaps"):
                source.pop(field, None)
            source["path"] = str(folder)
    return document, problems


def _config_maps(document: dict[Any, Any], place: Iterable[str | int]) -> list[str]:
    """The names of the ConfigMaps with the pictures of a folder; none if the manifest names none, or is wrong there."""
    try:
        source = _at(document, place)
        several = [*source.get("configMaps", ()), *([source["configMap"]] if "configMap" in source else [])]
        return [name for one in several for (name,) in [one.values()]]
    except (LookupError, TypeError, AttributeError, ValueError):
        return []


def _at(document: dict[Any, Any], place: Iterable[str | int]) -> Any:
    """A field of the spec of a manifest."""
    node: Any = document["spec"]
    for part in place:
        node = node[part]
    return node


def documents_of(file: Path) -> list[Any] | Problem:
    """All YAML documents of a file that say anything."""
    try:
        return [document for document in yaml.load_all(file.read_bytes(), _Loader) if document is not None]
    except OSError as error:
        return Problem("FILE", str(file), f"can't be read: {error.strerror}", "Give the path of a manifest")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return Problem("FILE", str(file), f"is no valid YAML{place}: {error.problem}", "Correct it there")
    except (yaml.YAMLError, ValueError) as error:
        return Problem("FILE", str(file), f"is no valid YAML: {error}", "Save it as YAML in UTF-8")


def of_kind(documents: Sequence[Any], kind: str) -> list[dict[Any, Any]]:
    """The documents of a kind."""
    return [document for document in documents if isinstance(document, dict) and document.get("kind") == kind]


def _job_among(documents: list[Any], file: Path) -> dict[Any, Any] | Problem:
    """The document that is, or was probably meant to be, the DreamBoothJob."""
    example = f"Write a manifest that begins with apiVersion: {API_VERSION} and kind: {KIND}"
    if len(documents) > 1:
        documents = of_kind(documents, KIND)
    if not documents:
        return Problem("FILE", str(file), f"holds no {KIND}", example)
    if len(documents) > 1:
        return Problem("FILE", str(file), f"holds {len(documents)} of kind {KIND}", "Give each a file of its own")
    if not isinstance(documents[0], dict):
        return Problem("FILE", str(file), "is no manifest", example)
    return documents[0]


# In C where PyYAML has it: the loader in Python takes a third of a second for a megabyte of photos in a ConfigMap.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as the API server reads it: 1e-4 is a number, and a field that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Makes a mapping, but none whose later entries silently replace the earlier ones."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                message = f"{key.value} stands twice"
                raise yaml.constructor.ConstructorError(problem=message, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
