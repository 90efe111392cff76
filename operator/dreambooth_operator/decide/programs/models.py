"""Where the pods of a program find models: on claims, on the hub, or in the trainer."""

from collections.abc import Iterable, Mapping

from dreambooth_api.training import SINGLE_FILE, Model, TokenSecret
from dreambooth_operator.decide.programs.paths import CLAIM_SCHEME, mounted_claim
from dreambooth_operator.decide.programs.program import SecretVariable
from dreambooth_operator.objects.folders import inside

HUB_SCHEME = "hf://"


def claims_of(sources: Mapping[str, str]) -> Mapping[str, str]:
    """The claims with models, and the fields of the spec that name them.

    Args:
        sources: where the models are, by the fields of the spec.
    """
    named: dict[str, str] = {}
    for field, source in sources.items():
        if source.startswith(CLAIM_SCHEME):
            named.setdefault(source.removeprefix(CLAIM_SCHEME).partition("/")[0], field)
    return named


def on_hub(sources: Iterable[str]) -> bool:
    """Whether one of some sources is on the hub."""
    return any(source.startswith(HUB_SCHEME) for source in sources)


def downloads(model: Model) -> bool:
    """Whether files of a base model come from the hub: the model, or the configuration of a single-file checkpoint, unless that
    is on a claim too."""
    is_file = model.source.endswith(SINGLE_FILE)
    return on_hub([model.source]) or (is_file and not (model.config or "").startswith(CLAIM_SCHEME))


def inside_pods(source: str) -> str:
    """Path of a model inside the pods for a source `pvc://claim/path`; other sources are unchanged."""
    if not source.startswith(CLAIM_SCHEME):
        return source
    claim, _, path = source.removeprefix(CLAIM_SCHEME).partition("/")
    return inside(mounted_claim(claim), path or ".")


def model_token(secret: TokenSecret | None, field: str = "model.tokenSecret.name") -> list[SecretVariable]:
    """The variable with the token for the model hub.

    Args:
        secret: the Secret, if there is one.
        field: the field of the spec from which it follows.
    """
    return [SecretVariable("HF_TOKEN", secret.name, secret.key, field)] if secret else []
