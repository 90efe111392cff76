"""`jobName` of a DreamBoothScene: it waits until the DreamBoothJob has ended. Used by `decide/decision.py`.

A scene may begin while the DreamBoothJob fails: its newest checkpoint generates. The trainer says so if there is none.
"""

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.dreamboothscene import DreamBoothScene
from dreambooth_api.failures import Problem
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.scene import unknown_subjects
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.conditions import holds
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.decide.status.stored import stored_status
from dreambooth_operator.objects.observed import Object


def why_untrained(scene: DreamBoothScene, job: Object | None) -> Finding | None:
    """Why no pod of a scene can start yet; None: one can.

    Args:
        scene: the scene.
        job: the DreamBoothJob that it names, if it exists.
    """
    name = scene.spec.job_name
    if job is None:
        return reasons.JOB_NOT_FOUND(name=name, namespace=scene.metadata.namespace)
    status = stored_status(job)
    if holds(status.conditions, "Complete"):
        return None
    if not holds(status.conditions, "Failed"):
        return reasons.JOB_NOT_ENDED(name=name, phase=status.phase or "Pending")
    if status.start_time is None:
        return reasons.JOB_NEVER_STARTED(name=name, detail=status.message or "")
    return None


def unknown_names(workload: Workload, trained: DreamBoothJob | None) -> list[Problem]:
    """Problems of placeholders in a scene that name no subject of its DreamBoothJob.

    Args:
        workload: a scene, or a workload without such placeholders.
        trained: the DreamBoothJob that the scene names.
    """
    if not isinstance(workload, DreamBoothScene) or trained is None:
        return []
    return unknown_subjects(workload.spec, [one.called for one in trained.spec.all_subjects.values() if one.called])
