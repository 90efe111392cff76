"""Tests of dreambooth_trainer.data.identifier with the embedded model's own tokenizer."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from dreambooth_api.prompts import words_of
from dreambooth_trainer import embedded
from dreambooth_trainer.data.identifier import ABBREVIATIONS, COMMON_WORDS, choose, examine, tokens_inside

PROMPT = "a {identifier} dog"
TOKENIZER = AutoTokenizer.from_pretrained(embedded.path("emoji") / "pipeline" / "tokenizer")
VOCABULARY = {token[:-4]: index for token, index in TOKENIZER.get_vocab().items() if token.endswith("</w>")}


def encode(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False).input_ids
    return ids


@given(seed=st.integers(0, 2**31), noun=st.sampled_from(["dog", "backpack", "teapot", "elf", "rocks"]))
def test_a_chosen_identifier_is_rare_short_one_token_and_no_word(seed: int, noun: str) -> None:
    prompt = f"a {{identifier}} {noun}"
    finding = choose(VOCABULARY, encode, prompt, ["on the beach"], seed)
    assert finding is not None
    word = finding.identifier
    assert len(word) <= 3 and word.isalpha() and word.isascii()
    assert word not in {*words_of(prompt, "on the beach"), *COMMON_WORDS, *ABBREVIATIONS}
    assert encode(f"a {word} {noun}") == [*encode("a"), *finding.tokens, *encode(noun)]
    assert len(finding.tokens) == 1
    assert finding.rank is not None and finding.rank <= len(VOCABULARY) / 2
    assert finding == choose(VOCABULARY, encode, prompt, ["on the beach"], seed)


def test_the_seed_picks_among_several() -> None:
    found = [choose(VOCABULARY, encode, PROMPT, [], seed) for seed in range(4)]
    assert len({finding.identifier for finding in found if finding}) == 4


def test_words_of_the_prompts_are_not_chosen() -> None:
    first = choose(VOCABULARY, encode, PROMPT, [], seed=0)
    assert first is not None
    second = choose(VOCABULARY, encode, PROMPT, [f"a {first.identifier.upper()}, on the beach"], seed=0)
    assert second is not None and second.identifier != first.identifier


def test_consonants_come_first_and_the_rarest_of_them() -> None:
    vocabulary = {"owl": 9, "ewx": 8, "dvd": 7, "wqz": 6, "sks": 5, "dog": 4, "a": 3}
    ids: Callable[[str], list[int]] = lambda text: [vocabulary.get(word, 0) for word in text.split()]  # noqa: E731
    order = [finding.identifier for seed in range(4) if (finding := choose(vocabulary, ids, PROMPT, [], seed))]
    assert order == ["wqz", "sks", "ewx", "dvd"]


def test_nothing_fits() -> None:
    assert choose({"dog": 1, "teapot": 2}, encode, PROMPT, [], 0) is None
    assert choose(VOCABULARY, encode, "a {identifier}ish dog", [], 0) is None


@pytest.mark.parametrize(
    ("identifier", "tokens", "warning"),
    [
        ("sks", 2, "is 2 tokens"),
        ("owl", 1, "is a common word"),
        ("ous", 1, "is a frequent token"),
        ("lf", 1, None),
    ],
)
def test_a_given_identifier_is_examined(identifier: str, tokens: int, warning: str | None) -> None:
    finding = examine(identifier, VOCABULARY, encode, PROMPT)
    assert (finding.source, len(finding.tokens)) == ("given", tokens)
    assert (finding.rank is None) == (tokens > 1)
    assert [warning in note for note in finding.warnings] == [True] if warning else finding.warnings == ()


def test_tokens_inside_a_prompt() -> None:
    alone = encode("lf")
    assert tokens_inside("photo of {identifier}, a dog", "lf", encode) == alone
    assert tokens_inside("{identifier} dog beside a {identifier} dog", "lf", encode) == alone
    grown = tokens_inside("a {identifier}ish dog", "lf", encode)
    assert grown == encode("a lfish dog")


def test_words_of() -> None:
    assert words_of("A {identifier} dog's bed, {class}") == {"a", "dog", "s", "bed"}
