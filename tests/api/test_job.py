"""Tests of dreambooth_api.job."""

from typing import Any

import pytest
from pydantic import ValidationError

from dreambooth_api.job import KIND, DreamBoothJob
from dreambooth_api.workload import API_VERSION


def manifest(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {"model": {"source": "embedded://emoji"}, "subject": {"class": "dog", "images": {"path": "photos"}}},
    }


def test_a_manifest_survives_reading_and_writing() -> None:
    job = DreamBoothJob.model_validate(manifest(name="dog", namespace="team", labels={"a": "b"}))
    assert (job.metadata.name, job.metadata.namespace, job.spec.training.steps) == ("dog", "team", 400)
    assert DreamBoothJob.model_validate(job.model_dump(by_alias=True)) == job


@pytest.mark.parametrize("name", ["", "Dog", "my dog", "-dog", "dog-", "d" * 64, "dog/1"])
def test_names_are_labels_of_hosts(name: str) -> None:
    with pytest.raises(ValidationError):
        DreamBoothJob.model_validate(manifest(name=name))
