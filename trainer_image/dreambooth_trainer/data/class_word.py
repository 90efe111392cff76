"""The class of the subject, which should be a word that the base model knows. Pure functions on a tokenizer, called by
`prepare` and by the command line.

A tokenizer has whole words for what is frequent in captions, and splits other words. The shorter the parts, the rarer the word.
"""

import difflib

from dreambooth_api.prompts import words_of
from dreambooth_trainer.data.identifier import Tokenize

LEAST_BYTES = 3
"""Bytes of a known word for each of its tokens. Of CLIP's tokenizer, 7 of 242 English names of things and animals had
fewer, such as axolotl; so had 42 of 70 words for everyday things in German, French, Spanish and Finnish, all 26 in Russian and
Japanese, and 15 of 18 misspelt or invented words."""

CLASSES = sorted(
    words_of(
        """
        animal baby backpack bag ball bear bicycle bird boat book boot bottle bowl boy building candle car cat chair clock
        cow cup dog doll dress fish flower food fruit girl glasses guitar hat horse house lamp man monster mug person plant
        rabbit robot shirt shoe sneaker statue sunglasses teapot toy tree truck vase woman
        """
    )
)
"""Frequent classes of subjects."""

GENERAL = "animal", "person", "toy", "building"
"""Classes that comprise most others."""

ALIKE = 0.65
"""Similarity of a misspelt word to the right one, by `difflib`: that of `dgo` and `dog` is .67."""


def class_warnings(class_: str, tokenize: Tokenize) -> list[str]:
    """A warning if the base model hardly knows the noun of a class, which is its last word.

    Args:
        class_: the class.
        tokenize: the tokenizer.
    """
    noun = class_.lower().split()[-1]
    tokens = _tokens_of(noun, tokenize)
    if tokens == 1 or len(noun.encode()) >= tokens * LEAST_BYTES:
        return []
    known = [one for one in CLASSES if _tokens_of(one, tokenize) == 1]
    better = difflib.get_close_matches(noun, known, cutoff=ALIKE) or [one for one in GENERAL if one in known]
    such = f", such as {', '.join(better)}" if better else ""
    return [
        f"the base model hardly knows the class word {noun!r}, which its tokenizer splits into {tokens} tokens. Set "
        f"subject.class to a common word for the kind of subject{such}"
    ]


def _tokens_of(word: str, tokenize: Tokenize) -> int:
    """Number of tokens of a word inside a prompt."""
    return len(tokenize(f"a {word}")) - len(tokenize("a"))
