"""Tests of dreambooth_trainer.data.class_word with the embedded model's tokenizer."""

import pytest

from dreambooth_api.training import Model
from dreambooth_trainer.data.class_word import class_warnings
from dreambooth_trainer.data.clip_tokenizer import tokenizer_at_hand


def warnings_of(class_: str) -> list[str]:
    tokenizer = tokenizer_at_hand(Model(source="embedded://emoji"))
    assert tokenizer is not None
    return class_warnings(class_, tokenizer.words_to_ids)


@pytest.mark.parametrize("class_", ["dog", "Dog", "backpack", "teapot", "soccer ball", "teddy bear", "sks dog"])
def test_known_words_are_left_alone(class_: str) -> None:
    assert warnings_of(class_) == []


@pytest.mark.parametrize(
    ("class_", "noun", "better"),
    [
        ("dgo", "dgo", "dog"),
        ("catt", "catt", "cat"),
        ("big shoee", "shoee", "shoe"),
        ("hund", "hund", "animal, person, building"),
        ("собака", "собака", "animal, person, building"),
        ("golden retriever", "retriever", "animal, person, building"),
    ],
)
def test_words_that_the_model_hardly_knows(class_: str, noun: str, better: str) -> None:
    (warning,) = warnings_of(class_)
    assert f"hardly knows the class word '{noun}'" in warning
    assert warning.endswith(f"to a common word for the kind of subject, such as {better}")


def test_a_tokenizer_of_letters_suggests_nothing() -> None:
    (warning,) = class_warnings("dog", lambda text: list(map(ord, text.replace(" ", ""))))
    assert warning.endswith("to a common word for the kind of subject")
