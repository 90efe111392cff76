"""What the decision leaves alone."""

from copy import deepcopy

from dreambooth_operator.decide.reconcile import reconcile
from tests.operator.decide.reconcile.story import reason, running
from tests.operator.fake_cluster import SETTINGS
from tests.operator.poll.test_trust import told


def test_nothing_that_was_observed_is_changed() -> None:
    cluster = running()
    cluster.snapshot = told()
    observed = cluster.observe()
    before = deepcopy(observed)
    reconcile(observed, cluster.now, SETTINGS)
    assert observed == before


def test_answers_that_are_refused_become_a_condition_and_one_event() -> None:
    cluster = running()
    cluster.progress_error = "it is no JSON."
    plan = cluster.reconcile()
    assert reason(plan) == ("Running", "ProgressRefused")
    assert [(event.type, event.reason) for event in plan.events] == [("Warning", "ProgressRefused")]
    assert cluster.reconcile().events == []
    cluster.progress_error = None
    assert reason(cluster.reconcile()) == ("Running", "Training")
