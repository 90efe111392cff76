from datetime import UTC, datetime, timedelta

from dreambooth_operator.kube.events import MESSAGE_LENGTH, event_object, repeated
from dreambooth_operator.objects.observed import Event
from tests.operator.objects_of import dreambooth_job

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
EVENT = Event("Warning", "OutOfMemory", "Ask for more memory.")


def test_an_event_names_its_involved_object() -> None:
    item = event_object(dreambooth_job(version=7), EVENT, NOW, "replica-1")
    assert item["involvedObject"] == {
        "apiVersion": "dreambooth.io/v1alpha1",
        "kind": "DreamBoothJob",
        "name": "dog",
        "namespace": "space",
        "uid": "uid-dog",
        "resourceVersion": "7",
    }
    assert (item["type"], item["reason"], item["message"]) == ("Warning", "OutOfMemory", "Ask for more memory.")
    assert item["firstTimestamp"] == item["lastTimestamp"] == "2026-01-02T03:04:05Z"
    assert item["count"] == 1


def test_only_the_same_event_has_the_same_name() -> None:
    def name(job: str = "dog", uid: str = "1", message: str = EVENT.message) -> str:
        event = Event(EVENT.type, EVENT.reason, message)
        found: str = event_object(dreambooth_job(job, uid=uid), event, NOW, "replica-1")["metadata"]["name"]
        return found

    assert name() == name()
    assert len({name(), name(job="cat"), name(uid="2"), name(message="Another.")}) == 4
    assert name("x" * 253).startswith("x" * 100) and len(name("x" * 253)) <= 253


def test_repetitions_are_counted() -> None:
    again = repeated(event_object(dreambooth_job(), EVENT, NOW, "replica-1"), NOW + timedelta(minutes=1))
    assert (again["count"], again["firstTimestamp"], again["lastTimestamp"]) == (
        2,
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:05:05Z",
    )


def test_long_messages_are_cut() -> None:
    item = event_object(dreambooth_job(), Event("Normal", "Said", "x" * 5000), NOW, "replica-1")
    assert len(item["message"]) == MESSAGE_LENGTH
