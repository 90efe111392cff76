"""`jobName` of a DreamBoothScene: it waits until the DreamBoothJob has ended. Used by `decide/decision.py`.

A scene may begin while the DreamBoothJob fails: its newest checkpoint generates. The trainer says so if there is none.

With `step`, it may begin while the DreamBoothJob runs, when the checkpoint is there and several nodes can mount the claims. Else
its pod could keep a volume on its node, and the next pod of the training would wait for it.
"""

from collections.abc import Sequence

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.dreamboothscene import DreamBoothScene
from dreambooth_api.failures import Problem
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.scene import unknown_subjects
from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.decide.policies.preflight import CLAIM, Referenced
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.decide.programs.scene import JOB
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.conditions import holds
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.decide.status.stored import stored_status
from dreambooth_operator.objects.observed import Object, Reference

_SEVERAL_NODES, _READ_BY_SEVERAL = "ReadWriteMany", ["ReadOnlyMany"]


def why_untrained(
    scene: DreamBoothScene, job: Object | None, program: Program | None, referenced: Referenced
) -> Finding | None:
    """Why no pod of a scene can start yet; None: one can.

    Args:
        scene: the scene.
        job: the DreamBoothJob that it names, if it exists.
        program: what its pods run, if the DreamBoothJob exists.
        referenced: the claims of the program, as far as they exist.
    """
    name = scene.spec.job_name
    if name is None:
        return None
    if job is None or program is None:
        return reasons.JOB_NOT_FOUND(name=name, namespace=scene.metadata.namespace)
    status = stored_status(job)
    assert isinstance(status, DreamBoothJobStatus)
    if holds(status.conditions, "Complete"):
        return None
    if not holds(status.conditions, "Failed"):
        return _why_not_beside(scene, status, program, referenced)
    if status.start_time is None:
        return reasons.JOB_NEVER_STARTED(name=name, detail=status.message or "")
    return None


def _why_not_beside(
    scene: DreamBoothScene, status: DreamBoothJobStatus, program: Program, referenced: Referenced
) -> Finding | None:
    """Why no pod of a scene can start while its DreamBoothJob has not ended; None: one can."""
    name, step, phase = scene.spec.job_name, scene.spec.step, status.phase or "Pending"
    if step is None:
        return reasons.JOB_NOT_ENDED(name=name, phase=phase)
    if alone := _of_one_node(program, referenced):
        return reasons.CLAIM_NOT_SHARED(name=name, phase=phase, step=step, claims=" and ".join(alone))
    saved = status.progress.checkpoint_step if status.progress else None
    if saved is None or saved < step:
        newest = "it has none yet" if saved is None else f"its newest one is that after step {saved}"
        return reasons.STEP_NOT_SAVED(name=name, step=step, newest=newest)
    return None


def _of_one_node(program: Program, referenced: Referenced) -> Sequence[str]:
    """The claims of the DreamBoothJob that only one node at a time can mount, or that don't exist yet."""
    claims = dict.fromkeys(one.claim for one in program.claims if one.field == JOB)
    return [f"PersistentVolumeClaim {one}" for one in claims if not _is_shared(referenced.get(Reference(CLAIM, one)))]


def _is_shared(claim: Object | None) -> bool:
    """Whether several nodes can mount a claim: by the modes of its volume, or before there is one, by those that it asks for."""
    modes = (claim or {}).get("status", {}).get("accessModes") or (claim or {}).get("spec", {}).get("accessModes", [])
    return _SEVERAL_NODES in modes or modes == _READ_BY_SEVERAL


def unknown_names(workload: Workload, trained: DreamBoothJob | None) -> list[Problem]:
    """Problems of placeholders in a scene that name no subject of its DreamBoothJob.

    Args:
        workload: a scene, or a workload without such placeholders.
        trained: the DreamBoothJob that the scene names.
    """
    if not isinstance(workload, DreamBoothScene) or trained is None:
        return []
    return unknown_subjects(workload.spec, [one.called for one in trained.spec.all_subjects.values() if one.called])
