from dreambooth_operator.queueing.fair_turns import Turns


def emptied(turns: Turns[str]) -> list[str]:
    taken = []
    while (item := turns.next()) is not None:
        taken.append(item)
    return taken


def filled(*items: str) -> Turns[str]:
    """Items whose first letter is their namespace."""
    turns: Turns[str] = Turns()
    for item in items:
        turns.add(item[0], item)
    return turns


def test_namespaces_have_their_turns_and_within_each_the_first_is_first() -> None:
    assert emptied(filled("a1", "a2", "a3", "b1", "c1", "c2")) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_what_waits_is_there_once_and_keeps_its_place() -> None:
    turns = filled("a1", "a2", "a1")
    assert (len(turns), emptied(turns), len(turns)) == (2, ["a1", "a2"], 0)


def test_who_comes_back_comes_behind_those_that_wait() -> None:
    turns = filled("a1", "b1", "b2")
    assert turns.next() == "a1"
    turns.add("a", "a2")
    assert emptied(turns) == ["b1", "a2", "b2"]


def test_who_may_not_come_keeps_the_turn() -> None:
    turns = filled("a1", "a2", "b1", "b2")
    assert turns.next(lambda namespace: namespace == "b") == "b1"
    assert turns.next(lambda namespace: False) is None
    assert emptied(turns) == ["a1", "b2", "a2"]


def test_what_is_discarded_does_not_come() -> None:
    turns = filled("a1", "a2", "b1")
    for item in ("a1", "a1", "b1", "c9"):
        turns.discard(item[0], item)
    assert (len(turns), emptied(turns)) == (1, ["a2"])
