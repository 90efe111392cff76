"""The program of a DreamBoothScene: the generation of pictures by the model of a DreamBoothJob."""

from dreambooth_api.dreamboothscene import DreamBoothScene
from dreambooth_api.job import DreamBoothJob
from dreambooth_operator.decide.programs import training
from dreambooth_operator.decide.programs.paths import CACHE, OUTPUT, RUN, mounted_claim
from dreambooth_operator.decide.programs.program import ClaimMount, Program
from dreambooth_operator.objects.folders import Folder, inside

_JOB = "jobName"
"""The field of the spec from which the objects of the DreamBoothJob follow."""


def scene_program(scene: DreamBoothScene, job: DreamBoothJob) -> Program:
    """The program of a DreamBoothScene.

    Args:
        scene: the DreamBoothScene, with the fields that its runtime sets.
        job: the DreamBoothJob that it names.
    """
    run, given = training.output_of(job), scene.spec.volumes
    path = f"scenes/{scene.metadata.name}"
    if given.output.claim_name in (None, run.claim):
        output = Folder(run.claim, given.output.path or inside(run.path, path))
    else:
        output = Folder(given.output.claim_name, given.output.path or path)
    field = "volumes.output.claimName" if given.output.claim_name else _JOB
    claims = [
        ClaimMount(output.claim, OUTPUT, "output", field, written=True),
        ClaimMount(run.claim, RUN, "run", _JOB),
    ]
    if cache := given.cache or job.spec.volumes.cache:
        field = "volumes.cache.claimName" if given.cache else _JOB
        claims.append(ClaimMount(cache.claim_name, CACHE, "cache", field, written=True))
    # The weights of a checkpoint need the base model.
    claims += [
        ClaimMount(claim, mounted_claim(claim), f"input-{number}", _JOB)
        for number, claim in enumerate(training.claims_with_models(job))
    ]
    arguments = {"--run": inside(RUN, run.path), "--output": inside(OUTPUT, output.path)}
    return Program(
        module="dreambooth_trainer.scene",
        arguments=[word for option in arguments.items() for word in option],
        launched=False,
        file="scene.json",
        settings=scene.spec.scene,
        output=output,
        claims=claims,
        cache=inside(CACHE, cache.path or ".") if cache else training.cache_folder(job, RUN),
        token=job.spec.model.token_secret,
        token_field=_JOB,
        uses_hub=training.uses_hub(job),
    )
