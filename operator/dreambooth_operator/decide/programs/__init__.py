"""What the pods of a workload run: each kind of workload has one module that makes its `Program`.

Builders and policies read the program and the fields that all workloads share, so none of them depends on the kind.
"""

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.job import DreamBoothJob
from dreambooth_operator.decide.programs import training
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.decide.programs.scene import scene_of_job, scene_of_model
from dreambooth_operator.decide.programs.training import training_program
from dreambooth_operator.objects.folders import Folder, output_of_attempt
from dreambooth_operator.objects.observed import Object


def program_of(workload: Workload, trained: DreamBoothJob | None) -> Program | None:
    """The program of a workload; None if it is a scene that names a DreamBoothJob that does not exist.

    Args:
        workload: the workload, with the fields that its runtime sets.
        trained: the DreamBoothJob that a scene names.
    """
    if isinstance(workload, DreamBoothJob):
        return training_program(workload)
    if model := workload.spec.model:
        return scene_of_model(workload, model)
    return scene_of_job(workload, trained) if trained else None


def output_of(workload: Workload, attempt: Object | None) -> Folder | None:
    """Where the pods of a workload write; None if that is not known any more.

    Args:
        workload: the workload.
        attempt: the newest Job of the workload. The DreamBoothJob that a scene names may be deleted while the scene runs.
    """
    if isinstance(workload, DreamBoothJob):
        return training.output_of(workload)
    return output_of_attempt(attempt)
