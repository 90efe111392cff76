"""The program of a DreamBoothJob: the training. Paths of its pictures and models inside the pods are defined here."""

from collections.abc import Mapping
from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_api.training import Images, TrainConfig
from dreambooth_operator.decide.programs.models import claims_of, downloads, inside_pods, model_token, on_hub
from dreambooth_operator.decide.programs.paths import CACHE, OUTPUT, mounted_claim, mounted_pictures
from dreambooth_operator.decide.programs.program import ClaimMount, Pictures, Program, SecretVariable
from dreambooth_operator.objects import names
from dreambooth_operator.objects.folders import Folder, inside

PHOTOS, CLASS_IMAGES = "photos", "class-images"
"""Names of the volumes of pictures. That of the photos of one of several subjects ends with its name."""


def training_program(job: DreamBoothJob) -> Program:
    """The program of a DreamBoothJob.

    Args:
        job: the DreamBoothJob, with the fields that its runtime sets.
    """
    output, cache = job.spec.volumes.output, job.spec.volumes.cache
    folder = output_of(job)
    claims = [
        ClaimMount(folder.claim, OUTPUT, "output", output.claim_name and "volumes.output.claimName", written=True)
    ]
    if cache:
        claims.append(ClaimMount(cache.claim_name, CACHE, "cache", "volumes.cache.claimName", written=True))
    inputs = dict(_claims_with_pictures(job))
    for claim, field in claims_with_models(job).items():
        inputs.setdefault(claim, field)
    claims += [
        ClaimMount(claim, mounted_claim(claim), f"input-{number}", field)
        for number, (claim, field) in enumerate(inputs.items())
    ]
    arguments = {"--output": inside(OUTPUT, folder.path), "--cache": cache_folder(job, OUTPUT)}
    return Program(
        module="dreambooth_trainer.launch",
        arguments=[word for option in arguments.items() for word in option],
        launched=True,
        file="train.json",
        settings=_settings(job),
        output=folder,
        claims=claims,
        cache=cache_folder(job, OUTPUT),
        created=None if output.claim_name else output.create,
        pictures=_pictures_of(job),
        secrets=[*model_token(job.spec.model.token_secret), *_wandb_key(job), *_upload_credentials(job)],
        uses_services=uses_hub(job) or _logs_online(job) or job.spec.output.upload is not None,
        upload=job.spec.output.upload.to if job.spec.output.upload else None,
    )


def output_of(job: DreamBoothJob) -> Folder:
    """The folder of the run of a DreamBoothJob."""
    output = job.spec.volumes.output
    return Folder(output.claim_name or names.claim(job), output.path or job.metadata.name)


def cache_folder(job: DreamBoothJob, output: str) -> str:
    """Folder of class images and downloaded models inside pods.

    Args:
        job: the DreamBoothJob.
        output: where the claim for its output is mounted.
    """
    cache = job.spec.volumes.cache
    return inside(CACHE, cache.path or ".") if cache else f"{output}/.cache"


def claims_with_models(job: DreamBoothJob) -> Mapping[str, str]:
    """The claims with models, and the fields of the spec that name them."""
    model = job.spec.model
    return claims_of(
        {
            "model.source": model.source,
            "model.config": model.config or "",
            "evaluation.encoder": job.spec.evaluation.encoder,
        }
    )


def uses_hub(job: DreamBoothJob) -> bool:
    """Whether files of the models of a DreamBoothJob come from the hub."""
    evaluation = job.spec.evaluation
    return downloads(job.spec.model) or (evaluation.enabled and on_hub([evaluation.encoder]))


def _wandb_key(job: DreamBoothJob) -> list[SecretVariable]:
    wandb = job.spec.monitoring.wandb
    secret = wandb.api_key_secret if wandb else None
    field = "monitoring.wandb.apiKeySecret.name"
    return [SecretVariable("WANDB_API_KEY", secret.name, secret.key, field)] if secret else []


_S3_VARIABLES = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"


def _upload_credentials(job: DreamBoothJob) -> list[SecretVariable]:
    """The credentials for the upload. Other keys of the Secret reach no pod."""
    upload = job.spec.output.upload
    if not upload or not upload.secret:
        return []
    name, field = upload.secret.name, "output.upload.secret.name"
    if upload.on_hub:
        return [SecretVariable("HF_UPLOAD_TOKEN", name, "HF_TOKEN", field)]
    return [SecretVariable(key, name, key, field, key not in _S3_VARIABLES[:2]) for key in _S3_VARIABLES]


def _logs_online(job: DreamBoothJob) -> bool:
    wandb = job.spec.monitoring.wandb
    return wandb is not None and wandb.mode == "online"


def _pictures_of(job: DreamBoothJob) -> Mapping[str, Pictures]:
    """The photos and class images of the spec, by the names of their volumes."""
    pictures = {
        f"{PHOTOS}-{one.called}" if one.called else PHOTOS: Pictures(f"{place}.images", one.images)
        for place, one in job.spec.all_subjects.items()
    }
    if source := job.spec.prior.source:
        pictures[CLASS_IMAGES] = Pictures("prior.source", source)
    return pictures


def _claims_with_pictures(job: DreamBoothJob) -> Mapping[str, str]:
    """The claims with pictures, and the fields of the spec that name them."""
    named: dict[str, str] = {}
    for field, images in _pictures_of(job).values():
        if claim := images.persistent_volume_claim:
            named.setdefault(claim.claim_name, f"{field}.persistentVolumeClaim.claimName")
    return named


def _settings(job: DreamBoothJob) -> TrainConfig:
    """The settings of the trainer inside a pod: the training sections of the spec, with paths inside the pods."""
    spec = job.spec
    pictures = _pictures_of(job)
    folders = {one.field: Images(path=_pictures_folder(name, one.images)) for name, one in pictures.items()}
    subjects = [
        one.model_copy(update={"images": folders[f"{place}.images"]}) for place, one in spec.all_subjects.items()
    ]
    sections: dict[str, Any] = {}
    model: dict[str, Any] = {"source": inside_pods(spec.model.source), "token_secret": None}
    if spec.model.config:
        model["config"] = inside_pods(spec.model.config)
    sections["model"] = spec.model.model_copy(update=model)
    if wandb := spec.monitoring.wandb:
        without_secret = {"wandb": wandb.model_copy(update={"api_key_secret": None})}
        sections["monitoring"] = spec.monitoring.model_copy(update=without_secret)
    if upload := spec.output.upload:
        sections["output"] = spec.output.model_copy(update={"upload": upload.model_copy(update={"secret": None})})
    if spec.prior.source:
        sections["prior"] = spec.prior.model_copy(update={"source": folders["prior.source"]})
    if "evaluation" in spec.model_fields_set:
        encoder = {"encoder": inside_pods(spec.evaluation.encoder)}
        sections["evaluation"] = spec.evaluation.model_copy(update=encoder)
    return spec.train_config.with_subjects(subjects).model_copy(update=sections)


def _pictures_folder(name: str, images: Images) -> str:
    """Folder of photos or class images inside the pods."""
    if images.persistent_volume_claim:
        claim = images.persistent_volume_claim
        return inside(mounted_claim(claim.claim_name), claim.path)
    return inside(mounted_pictures(name), images.image.path if images.image else ".")
