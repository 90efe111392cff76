from dreambooth_operator.queueing.fair_queue import FairQueue


def drain(queue: FairQueue[str]) -> list[str]:
    items = []
    while (item := queue.pop()) is not None:
        items.append(item)
    return items


def filled(*items: str) -> FairQueue[str]:
    """Items whose first letter is their namespace."""
    queue: FairQueue[str] = FairQueue()
    for item in items:
        queue.add(item[0], item)
    return queue


def test_namespaces_are_served_round_robin_and_each_in_fifo_order() -> None:
    assert drain(filled("a1", "a2", "a3", "b1", "c1", "c2")) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_an_item_is_queued_once_and_keeps_its_position() -> None:
    queue = filled("a1", "a2", "a1")
    assert (len(queue), drain(queue), len(queue)) == (2, ["a1", "a2"], 0)


def test_a_namespace_that_was_served_goes_to_the_end() -> None:
    queue = filled("a1", "b1", "b2")
    assert queue.pop() == "a1"
    queue.add("a", "a2")
    assert drain(queue) == ["b1", "a2", "b2"]


def test_a_namespace_that_is_not_eligible_keeps_its_position() -> None:
    queue = filled("a1", "a2", "b1", "b2")
    assert queue.pop(lambda namespace: namespace == "b") == "b1"
    assert queue.pop(lambda namespace: False) is None
    assert drain(queue) == ["a1", "b2", "a2"]


def test_a_discarded_item_is_not_returned() -> None:
    queue = filled("a1", "a2", "b1")
    for item in ("a1", "a1", "b1", "c9"):
        queue.discard(item[0], item)
    assert (len(queue), drain(queue)) == (1, ["a2"])
