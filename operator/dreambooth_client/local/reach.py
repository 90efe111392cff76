"""What a manifest can name that only a cluster has."""

from collections.abc import Iterator

from pydantic.alias_generators import to_camel

from dreambooth_api.failures import Problem
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.extras import missing_libraries

OF_CLUSTER = "config_map", "config_maps", "persistent_volume_claim", "image"
"""Sources of pictures."""


def out_of_reach(config: TrainConfig) -> Iterator[Problem]:
    """The fields of settings by which a process of this machine finds nothing."""
    for field, images in config.pictures.items():
        if images.path is None:
            source = next(
                name
                for name in ("config_map", "config_maps", "persistent_volume_claim", "image")
                if getattr(images, name)
            )
            remedy = (
                f"Give {field}.path, or append the ConfigMap to the file (kubectl create configmap NAME "
                "--from-file=FOLDER --dry-run=client -o yaml)"
            )
            yield Problem(f"spec.{field}", to_camel(source), "is only at hand in the cluster", remedy)
    for field, source in {"model.source": config.model.source, "evaluation.encoder": config.evaluation.encoder}.items():
        if source.startswith("pvc://"):
            yield Problem(f"spec.{field}", source, "is only at hand in the cluster", "Give the path of a copy")
    wandb, upload = config.monitoring.wandb, config.output.upload
    secrets = {
        "model.tokenSecret": (config.model.token_secret, "the token into the environment variable HF_TOKEN"),
        "monitoring.wandb.apiKeySecret": (
            wandb.api_key_secret if wandb else None,
            "the key into the environment variable WANDB_API_KEY",
        ),
        "output.upload.secret": (upload.secret if upload else None, "the credentials into environment variables"),
    }
    for field, (secret, remedy) in secrets.items():
        if secret:
            yield Problem(
                f"spec.{field}", secret.name, "is only at hand in the cluster", f"Put {remedy} and remove this field"
            )
    yield from missing_libraries(config)
