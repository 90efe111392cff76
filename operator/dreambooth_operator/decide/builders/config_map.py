"""Builds the ConfigMap with the settings of the trainer: the training sections of the spec, with paths inside the pods."""

from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_api.training import Images, TrainConfig
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.decide.builders.volumes import CONFIG_FILE, model_folder, pictures_folder
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object


def build_config_map(dreamboothjob: Object, job: DreamBoothJob) -> dict[str, Any]:
    """The ConfigMap of a DreamBoothJob.

    Args:
        dreamboothjob: the DreamBoothJob as an object of the API server.
        job: the same, parsed.
    """
    # Leave unset fields out, so that the trainer can distinguish them from fields that the manifest sets.
    settings = train_config(job).model_dump_json(by_alias=True, exclude_unset=True, exclude_none=True, indent=2)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(dreamboothjob, names.config_map(job.metadata.name)),
        "data": {CONFIG_FILE: settings + "\n"},
    }


def train_config(job: DreamBoothJob) -> TrainConfig:
    """The settings of the trainer inside a pod."""
    spec = job.spec
    images = Images(path=pictures_folder(job, "photos"))
    sections: dict[str, Any] = {"subject": spec.subject.model_copy(update={"images": images})}
    model: dict[str, Any] = {"source": model_folder(spec.model.source), "token_secret": None}
    if spec.model.config:
        model["config"] = model_folder(spec.model.config)
    sections["model"] = spec.model.model_copy(update=model)
    if spec.prior.source:
        source = Images(path=pictures_folder(job, "class-images"))
        sections["prior"] = spec.prior.model_copy(update={"source": source})
    if "evaluation" in spec.model_fields_set:
        encoder = {"encoder": model_folder(spec.evaluation.encoder)}
        sections["evaluation"] = spec.evaluation.model_copy(update=encoder)
    return spec.train_config.model_copy(update=sections)
