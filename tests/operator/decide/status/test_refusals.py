import pytest

from dreambooth_operator.decide.status.refusals import refused


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (
            'pods "x" is forbidden: exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: 2, limited: 2',
            "QuotaExceeded",
        ),
        ('pods "x" is forbidden: failed quota: q: must specify limits.cpu for: trainer', "QuotaUnspecified"),
        ('pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 16Gi', "LimitRangeExceeded"),
        (
            'persistentvolumeclaims "x" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi',
            "LimitRangeExceeded",
        ),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "Refused"),
        ('pods "x" is forbidden: no PriorityClass with name none was found', "Refused"),
    ],
)
def test_the_reason_of_a_refusal(detail: str, expected: str) -> None:
    found = refused("Job dog-0", detail)
    assert (found.phase, found.reason) == ("Pending", expected)
    assert f"Job dog-0: {detail}" in found.message or f"Job dog-0 does not specify: {detail}" in found.message


def test_a_namespace_that_is_being_deleted_is_no_reason_for_a_warning() -> None:
    detail = (
        'jobs.batch "dog-0" is forbidden: unable to create new content in namespace a because it is being terminated'
    )
    found = refused("Job dog-0", detail)
    assert (found.reason, found.event_type) == ("NamespaceTerminating", None)
    assert "Job dog-0 can't be created any more" in found.message
