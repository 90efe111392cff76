"""`DreamBoothScene`: pictures of the subject in new scenes, by the model of a DreamBoothJob or any other. The operator reads
it.

Importable without torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.job import NAME_LENGTH, JobName
from dreambooth_api.scene import Scene
from dreambooth_api.sections import CacheVolume, FolderPath, Resources
from dreambooth_api.status import DreamBoothSceneStatus
from dreambooth_api.training import ObjectName, Section
from dreambooth_api.workload import NAME_PATTERN, ObjectMetadata, WorkloadSpec

SCENE_KIND = "DreamBoothScene"
SCENE_PLURAL = "dreamboothscenes"
SCENE_SUFFIX = "-scene"
"""What follows the name of a DreamBoothScene in the names of its objects, so that a DreamBoothJob may have the same name."""
SCENE_NAME_LENGTH = NAME_LENGTH - len(SCENE_SUFFIX)
"""Longest name of a DreamBoothScene."""

SceneName = Annotated[str, Field(min_length=1, max_length=SCENE_NAME_LENGTH, pattern=NAME_PATTERN)]


class SceneMetadata(ObjectMetadata):
    """The fields of a DreamBoothScene's metadata that are read."""

    name: SceneName
    """Name of the DreamBoothScene: lower-case letters, digits and hyphens, a letter first."""


class SceneResources(Resources):
    """Resources of the pod."""

    nodes: Literal[1] = 1
    """Pods: one generates all pictures."""
    gpus_per_node: Annotated[int, Field(ge=0, le=1)] = 1
    """GPUs of the pod; 0: it generates on the CPU."""


class SceneOutput(Section):
    """The volume of the pictures."""

    claim_name: ObjectName | None = None
    """An existing claim of the same namespace. Default: that of the DreamBoothJob; with `model`, it must be given."""
    path: FolderPath | None = None
    """Folder of the pictures inside the volume. Default: `scenes/` and the name of the DreamBoothScene, in the folder of the
    DreamBoothJob's run on its claim, else in the root of the volume."""


class SceneVolumes(Section):
    """Volumes of outputs and caches."""

    output: SceneOutput = SceneOutput()
    """The pictures, with their seeds and a contact sheet."""
    cache: CacheVolume | None = None
    """Downloaded models. Default: that of the DreamBoothJob, else the runtime's, else a folder of the volume of the run or,
    with `model`, of the pictures."""


class DreamBoothSceneSpec(WorkloadSpec, Scene):
    """What to generate, how and where."""

    job_name: JobName | None = None
    """The DreamBoothJob of the same namespace whose model generates, unless `model` is given. The pod starts when it is
    complete, or has failed after its first checkpoint; with `step`, also while it trains, if several nodes can mount its
    claims."""
    resources: SceneResources = SceneResources()
    volumes: SceneVolumes = SceneVolumes()

    @property
    def scene(self) -> Scene:
        """The fields that the trainer reads, with those that were not given left unset."""
        return self.given(Scene)


class DreamBoothScene(BaseModel):
    """Pictures of the subject of a DreamBoothJob in new scenes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    api_version: Annotated[Literal["dreambooth.io/v1alpha1"], Field(alias="apiVersion")]
    """Version of this schema."""
    kind: Literal["DreamBoothScene"]
    """Name of this schema."""
    metadata: SceneMetadata
    """Name and namespace."""
    spec: DreamBoothSceneSpec
    """The settings."""
    status: DreamBoothSceneStatus | None = None
    """Status, written by the operator."""
