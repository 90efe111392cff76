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
