"""What the kinds that run pods have in common: their group, their metadata and how their pods run.

Importable without torch.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.sections import ImageReference, Resources, Scheduling
from dreambooth_api.training import SUBDOMAIN, Section

M = TypeVar("M", bound=Section)

GROUP = "dreambooth.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A label of RFC 1123."""

RuntimeName = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{SUBDOMAIN}$")]
"""Name of a DreamBoothRuntime, which is also the value of a label."""

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""A label of RFC 1035, as for names of Services."""


class ObjectMetadata(BaseModel):
    """The fields of Kubernetes' ObjectMeta that are read; the others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    namespace: Label | None = None
    """Namespace of the object. Default: that of the kubectl context."""


class WorkloadSpec(Section):
    """How pods run."""

    resources: Resources = Resources()
    scheduling: Scheduling = Scheduling()
    suspend: bool = False
    """Whether the pods are stopped: they save their state and end, and others resume from it when this is false."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds from the start of the first pod on a node after which the object fails, whatever its later pods wait for;
    time while suspended or in a queue doesn't count. `pendingDeadlineSeconds` limits the time before. Default: the runtime's
    limit, else none."""
    pending_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds after which the object fails if no pod has started on a node, for example because none can be scheduled;
    time while suspended or in a queue doesn't count. Default: the runtime's, else none."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Seconds without progress after which an attempt ends with the reason `Stalled`, which `retries` counts. Default: the
    runtime's, else none."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds after its end when the object is deleted; a claim that was created for it is deleted too if its
    `deletionPolicy` says so. Default: the runtime's, else the operator's, else it is not deleted."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Further attempts, each from where the last one ended, after failures that may be temporary. Disruptions by the
    cluster don't count."""
    runtime: RuntimeName | None = None
    """The DreamBoothRuntime to run with: it sets what pods get, and how much. Default: the default one of the namespace;
    without one, the operator's settings."""
    image: ImageReference | None = None
    """Image of the trainer, where the runtime allows it. Default: the runtime's, else the operator's."""

    def given(self, model: type[M]) -> M:
        """The fields of one of the spec's other bases, with those that were not given left unset.

        Args:
            model: the base: what the trainer reads.
        """
        fields = (name for name in model.model_fields if name in self.model_fields_set)
        return model.model_construct(**{name: getattr(self, name) for name in fields})
