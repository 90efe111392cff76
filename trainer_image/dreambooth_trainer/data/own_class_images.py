"""Own class images: pictures of the class in a folder, which the training uses instead of generated ones.

Called by the command line and at the start of the trainer, for the validation, and by the phases `prepare` and `prior`. Needs
only Pillow.
"""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dreambooth_api.failures import Problem
from dreambooth_api.fields import Fields
from dreambooth_api.training import Prior, TrainConfig
from dreambooth_trainer.data.buckets import Size
from dreambooth_trainer.data.folder import listed, read_folder
from dreambooth_trainer.data.photos import Findings, inspect_photos, refuse_tiny
from dreambooth_trainer.data.pictures import Unusable, open_upright
from dreambooth_trainer.data.quality import cut
from dreambooth_trainer.process.storage import sha256_of

FIELD = "spec.prior.source"
"""The field of the manifest that the pictures belong to."""

WANTED = "pictures of the class, but not of the subject,"


class OwnImage(NamedTuple):
    """A picture of the class."""

    digest: str
    """SHA-256 of its file."""
    path: Path

    def cut(self, size: Size) -> Image.Image:
        """The middle of the picture in the shape of a size, RGB, scaled to it.

        Raises:
            Unusable: the file can't be used as a still picture.
        """
        return cut(open_upright(self.path), size)


def own_class_images(config: TrainConfig) -> list[OwnImage]:
    """The pictures that a training uses, by their digests: neither names nor places count."""
    return _all(config)[: config.prior.conditional_images]


def inspect_class_images(folder: Path, fields: Fields) -> Findings:
    """Checks every picture of a folder.

    Args:
        folder: folder of the class images.
        fields: the manifest. Without `training.resolution`, the size of the pictures is not checked.
    """
    return examine_class_images(folder, fields, fields.get("training.resolution"))


def examine_class_images(folder: Path, fields: Fields, resolution: int | None) -> Findings:
    """Checks every picture of a folder, for a training resolution."""
    contents = read_folder(folder, FIELD, WANTED)
    problems, notes = list(contents.problems), list(contents.warnings)
    for path in contents.photos:
        try:
            picture = open_upright(path)
            if resolution is not None:
                refuse_tiny(picture, (resolution, resolution), resolution)
        except Unusable as reason:
            problems.append(Problem(FIELD, str(path), *reason.args))
    if contents.captions or contents.table or contents.masks:
        notes.append("captions and masks are not used: class images have prior.prompt")
    return Findings(problems, [f"prior.source: {note}" for note in [*notes, *_surplus(len(contents.photos), fields)]])


INSPECTIONS = {"subject.images.path": inspect_photos, "prior.source.path": inspect_class_images}
"""How the pictures are inspected that a field names."""


def find_photos_of_the_subject(config: TrainConfig) -> list[Problem]:
    """Finds photos among the class images: the training would learn the subject from them, and also unlearn it.

    Args:
        config: valid settings, with absolute paths.
    """
    own = _all(config)
    if not own:
        return []
    folders = [Path(one.images.path) for one in config.all_subjects.values() if one.images.path]
    photos = {sha256_of(path) for folder in folders for path in read_folder(folder).photos}
    if twins := sorted(image.path.name for image in own if image.digest in photos):
        message = f"has photos of the subject: {listed(twins)}. Class images show other members of the class"
        return [Problem(FIELD, str(own[0].path.parent), message, "Remove them there")]
    return []


def _surplus(count: int, fields: Fields) -> list[str]:
    """A warning if there are more pictures than the training uses."""
    images, share = fields.get("prior.images"), fields.get("prior.unconditionalShare")
    if images is None or share is None:
        return []
    used = Prior(images=images, unconditional_share=share).conditional_images
    if count <= used:
        return []
    why, remedy = f"prior.images is {images}", "Raise prior.images"
    if generated := images - used:
        why += f", of which {generated} are generated with the empty prompt"
        remedy += ", or lower prior.unconditionalShare"
    return [f"only {used} of {count} pictures are used, because {why}. {remedy}"]


def _all(config: TrainConfig) -> list[OwnImage]:
    """The pictures in the folder, by their digests."""
    prior = config.prior
    if not prior.enabled or prior.source is None or prior.source.path is None:
        return []
    return sorted(
        OwnImage(sha256_of(path), path) for path in read_folder(Path(prior.source.path), FIELD, WANTED).photos
    )
