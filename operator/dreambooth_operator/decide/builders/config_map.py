"""Builds the ConfigMap with the settings of the trainer."""

from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object


def build_config_map(owner: Object, workload: Workload, program: Program) -> dict[str, Any]:
    """The ConfigMap of a workload.

    Args:
        owner: the workload as an object of the API server.
        workload: the same, parsed.
        program: what its pods run.
    """
    # Leave unset fields out, so that the trainer can distinguish them from fields that the manifest sets.
    settings = program.settings.model_dump_json(by_alias=True, exclude_unset=True, exclude_none=True, indent=2)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(owner, names.config_map(workload)),
        "data": {program.file: settings + "\n"},
    }
