from hypothesis import given
from hypothesis import strategies as st

from dreambooth_api.failures import Problem
from dreambooth_api.printing import one_line, printable


def test_control_characters_are_escaped() -> None:
    assert one_line("a\x1b[31mb\x07\r\nc\u202ed\udcff\x9b") == r"a\x1b[31mb\x07\r\nc\u202ed\udcff\x9b"
    assert printable("one\ntwo\x1b[2J") == "one\n" + r"two\x1b[2J"
    assert one_line("dog, Füße, 狗, 👩‍🚀, [b]") == "dog, Füße, 狗, 👩‍🚀, [b]"


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_written(text: str) -> None:
    line = one_line(text)
    line.encode()
    assert line.splitlines() in ([], [line])
    assert one_line(line) == line


def test_a_problem_is_one_line() -> None:
    problem = Problem("spec.a\nspec.b", "x\x1b[2J", "has {\x1b]0;title\x07}", "Remove\nit")
    assert str(problem) == r"spec.a\nspec.b: 'x\x1b[2J' has {\x1b]0;title\x07}. Remove\nit."
