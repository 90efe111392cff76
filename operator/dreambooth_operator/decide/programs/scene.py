"""The program of a DreamBoothScene: the generation of pictures by the model of a DreamBoothJob, or by any other."""

from collections.abc import Mapping, Sequence
from typing import Any

from dreambooth_api.dreamboothscene import DreamBoothScene
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.scene import Scene
from dreambooth_api.scene_model import SceneModel
from dreambooth_operator.decide.programs import training
from dreambooth_operator.decide.programs.models import claims_of, downloads, inside_pods, model_token, on_hub
from dreambooth_operator.decide.programs.paths import CACHE, OUTPUT, RUN, mounted_claim
from dreambooth_operator.decide.programs.program import ClaimMount, Program, SecretVariable
from dreambooth_operator.objects.folders import Folder, inside

JOB = "jobName"
"""The field of the spec from which the objects of the DreamBoothJob follow."""
_OUTPUT, _CACHE = "volumes.output.claimName", "volumes.cache.claimName"


def scene_of_job(scene: DreamBoothScene, job: DreamBoothJob) -> Program:
    """The program of a DreamBoothScene that names a DreamBoothJob.

    Args:
        scene: the DreamBoothScene, with the fields that its runtime sets.
        job: the DreamBoothJob.
    """
    run, given = training.output_of(job), scene.spec.volumes
    path = _folder(scene)
    if given.output.claim_name in (None, run.claim):
        output = Folder(run.claim, given.output.path or inside(run.path, path))
    else:
        output = Folder(given.output.claim_name, given.output.path or path)
    claims = [
        ClaimMount(output.claim, OUTPUT, "output", _OUTPUT if given.output.claim_name else JOB, written=True),
        ClaimMount(run.claim, RUN, "run", JOB),
    ]
    if cache := given.cache or job.spec.volumes.cache:
        claims.append(ClaimMount(cache.claim_name, CACHE, "cache", _CACHE if given.cache else JOB, written=True))
    # The weights of a checkpoint need the base model.
    claims += _inputs(dict.fromkeys(training.claims_with_models(job), JOB))
    return _program(
        scene.spec.scene,
        output,
        claims,
        cache=inside(CACHE, cache.path or ".") if cache else training.cache_folder(job, RUN),
        run=inside(RUN, run.path),
        secrets=model_token(job.spec.model.token_secret, JOB),
        uses_services=training.uses_hub(job),
    )


def scene_of_model(scene: DreamBoothScene, model: SceneModel) -> Program:
    """The program of a DreamBoothScene that names a model.

    Args:
        scene: the DreamBoothScene, with the fields that its runtime sets.
        model: its model.
    """
    given = scene.spec.volumes
    output = Folder(given.output.claim_name or "", given.output.path or _folder(scene))
    claims = [ClaimMount(output.claim, OUTPUT, "output", _OUTPUT, written=True)]
    if cache := given.cache:
        claims.append(ClaimMount(cache.claim_name, CACHE, "cache", _CACHE, written=True))
    sources = {"model.source": model.source, **model.adapter_sources}
    claims += _inputs(claims_of({**sources, "model.config": model.config or ""}))
    return _program(
        scene.spec.scene.model_copy(update={"model": _model_inside_pods(model)}),
        output,
        claims,
        cache=inside(CACHE, cache.path or ".") if cache else f"{OUTPUT}/.cache",
        secrets=model_token(model.token_secret),
        uses_services=downloads(model) or on_hub(model.adapter_sources.values()),
    )


def _folder(scene: DreamBoothScene) -> str:
    """The default of the folder of the pictures."""
    return f"scenes/{scene.metadata.name}"


def _program(
    settings: Scene,
    output: Folder,
    claims: Sequence[ClaimMount],
    *,
    cache: str,
    secrets: Sequence[SecretVariable],
    uses_services: bool,
    run: str | None = None,
) -> Program:
    """What both kinds of scenes have in common; for the arguments see `Program`.

    Args:
        run: folder of the run inside the pods.
    """
    return Program(
        module="dreambooth_trainer.scene",
        arguments=[*(["--run", run] if run else []), "--output", inside(OUTPUT, output.path)],
        launched=False,
        file="scene.json",
        settings=settings,
        output=output,
        claims=claims,
        cache=cache,
        secrets=secrets,
        uses_services=uses_services,
    )


def _inputs(claims: Mapping[str, str]) -> Sequence[ClaimMount]:
    """Mounts of claims with models.

    Args:
        claims: their names, and the fields of the spec from which they follow.
    """
    return [
        ClaimMount(claim, mounted_claim(claim), f"input-{number}", field)
        for number, (claim, field) in enumerate(claims.items())
    ]


def _model_inside_pods(model: SceneModel) -> SceneModel:
    adapters = [one.model_copy(update={"source": inside_pods(one.source)}) for one in model.adapters]
    update: dict[str, Any] = {"source": inside_pods(model.source), "token_secret": None}
    # Fields that are not given stay so.
    update |= {"adapters": adapters} if adapters else {}
    update |= {"config": inside_pods(model.config)} if model.config else {}
    return model.model_copy(update=update)
