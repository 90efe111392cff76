"""`reconcile` does not modify its input."""

from copy import deepcopy

from dreambooth_operator.decide.reconcile import reconcile
from tests.operator.decide.reconcile.story import reason, running
from tests.operator.fake_cluster import SETTINGS
from tests.operator.poll.test_snapshot_validation import make_snapshot


def test_the_input_is_not_modified() -> None:
    cluster = running()
    cluster.snapshot = make_snapshot()
    observed = cluster.observe()
    before = deepcopy(observed)
    reconcile(observed, cluster.now, SETTINGS)
    assert observed == before


def test_rejected_progress_becomes_a_condition_and_one_event() -> None:
    cluster = running()
    cluster.progress_error = "it is not JSON."
    plan = cluster.reconcile()
    assert reason(plan) == ("Running", "ProgressRefused")
    assert [(event.type, event.reason) for event in plan.events] == [("Warning", "ProgressRefused")]
    assert cluster.reconcile().events == []
    cluster.progress_error = None
    assert reason(cluster.reconcile()) == ("Running", "Training")
