import re
from string import Formatter

import pytest

from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import LENGTH, Reason, clean, failed, sentence

ALL = {name: reason for name, reason in vars(reasons).items() if isinstance(reason, Reason)}


def test_no_message_tells_a_tenant_to_do_what_needs_an_administrator() -> None:
    """Tenants have permissions in their namespaces; runtimes and nodes are cluster-scoped."""
    texts = [reason.message for reason in ALL.values()]
    texts += [value for value in vars(reasons).values() if isinstance(value, str)]
    scoped = r"kubectl \w+ (dreamboothruntime|dbr|node|persistentvolumes?\b|pv\b|namespace)"
    assert [text for text in texts if re.search(scoped, text)] == []


@pytest.mark.parametrize("reason", ALL.values(), ids=ALL.keys())
def test_every_reason_is_camel_case_and_has_sentences(reason: Reason) -> None:
    facts = {field: "fact" for _, field, _, _ in Formatter().parse(reason.message) if field}
    finding = reason(**facts)
    assert re.fullmatch(r"([A-Z][a-z]+)+", finding.reason)
    assert finding.message.endswith(".")
    assert not re.search(r"\{\w*\}", finding.message)


def test_reasons_are_unique() -> None:
    assert len({reason.reason for reason in ALL.values()}) == len(ALL)


def test_each_disruption_of_kubernetes_is_retried() -> None:
    assert {reason.phase for reason in reasons.DISRUPTIONS.values()} == {"Retrying"}


def test_a_command_in_a_message_can_be_copied() -> None:
    message = reasons.HELD(job="dog-0").message
    assert """kubectl patch job dog-0 --type merge -p '{"spec":{"suspend":false}}'""" in message


@pytest.mark.parametrize("detail", ["no {room}", "no room.", "no\nroom", ""])
def test_a_detail_becomes_a_sentence_of_the_message(detail: str) -> None:
    message = reasons.REFUSED(what="Job dog-0", detail=detail).message
    said = f"{' '.join(detail.split()).removesuffix('.')}. " if detail else ""
    assert message == f"The API server refused Job dog-0: {said}The operator retries until it succeeds."


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\n\tb", "a b"), ("a\x00b\x1b[31m", "a b [31m"), ("\ud800", ""), ("a\u2028b", "a b"), ("käse 🐕", "käse 🐕")],
)
def test_texts_become_one_printable_line(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_a_long_text_loses_its_middle() -> None:
    text = f"begin {'x' * 5000} end"
    for length in (50, 200, LENGTH):
        cut = clean(text, length)
        assert (len(cut), cut[:6], cut[-4:]) == (length, "begin ", " end")
    assert clean("x" * LENGTH) == "x" * LENGTH


@pytest.mark.parametrize(("text", "expected"), [("a", "a."), ("a.", "a."), ("a!", "a!"), ("a?", "a?"), (" ", "")])
def test_sentences_end_with_a_punctuation_mark(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_the_failure_of_a_dreamboothjob_is_a_warning() -> None:
    assert failed("Killed", "by\nsomebody") == ("Killed", "Failed", "Warning", "by somebody")
