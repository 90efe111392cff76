"""The identifier: the rare word that will mean the subject.

Pure functions on a tokenizer's vocabulary, called by `prepare` and by the command line. The paper (arXiv:2208.12242,
section 3.2) recommends a word that is rare in the training data of the base model, so that it has no strong meaning
yet, and that has at most three letters, so that the tokenizer does not split it into letters. Byte-pair vocabularies
are ordered by their merges, frequent ones first: a high id is a rare token. Rare tokens may still be words (`owl`,
`wow`), and no list of all words is available. Almost every English word has a vowel, so words of consonants are
preferred, except abbreviations that are used like words.
"""

import itertools
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Literal

from pydantic import BaseModel

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.prompts import words_of
from dreambooth_api.training import TrainConfig

MAX_LETTERS = 3

CHOICES = 4
"""Number of the rarest tokens among which the seed selects."""

FREQUENT = 10_000
"""Number of words at the beginning of a vocabulary that count as frequent."""

VOWELS = frozenset("aeiouy")


ABBREVIATIONS = words_of(
    """
    bbc bbq bc bff bmw brb btw cbd cd cds cm cnn ct dc dj djs dlc dm dr dvd fb fc fm ft gb gf gm gmc gmt gps gt
    hbd hd hp hq hr hrs ht htc jfk jr kb kg km lb lbs ldn lmk lp ltd mb mc md mlb mls mm mph mr mrs ms mtv mvp
    nbc nd nfl ng nhl nhs nj nt nv pc pdf ph pm pr ps psd psg pt qb rd rn rt sd sf sgt shh smh sms sql sr ss st
    tbh tbs tbt td th thx tsb tv vc vhs vr vs wb wc wnt wtf wth ww www xl xp xx xxx zzz
    """
)
"""Groups of consonants that are used like words, so that they have a meaning in captions of pictures."""

COMMON_WORDS = words_of(
    """
    a act add age ago ah aid air all am an and ant any ape app arm art as ask at ate bad bag ban bar bat bay be
    bed bee beg bet big bin bit bow box boy bug bun bus but buy by bye cab can cap car cat cow cry cub cup cut
    dad day den did die dig do dog dot dry due ear eat egg ego elf end era eve eye fan far fat fax few fig fin
    fit fix fly fog for fox fun fur gap gas gay gel gem get go god got gum gun gut guy had ham has hat he hen
    her hey hi him hip his hit hop hot how hut i ice if ill in ink inn is it its jam jar jaw jet job joy key kid
    kit la lab lad lap law lay led leg let lid lie lip log lol lot low mad man map mat may me men met mix mob
    mom mud mug my nap net new no nod nor not now nut oak odd of off oh oil ok old on one or our out owe owl own
    ox pad pan pay pea pen pet pie pig pin pit pop pot put ram rap rat raw ray red rib rid rip rob rod row rub
    rug run sad sat saw say sea see set sex she shy sin sip sir sit six ski sky so son spa spy sum sun tab tag
    tan tap tar tax tea ten the tie tin tip to toe ton too top toy try tub two up urn us use van vet via war was
    wax way we web wed wet who why wig win wit won wow yes yet you zip zoo
    """
)
"""Frequent English words of at most three letters."""

FAINT = 0.5
"""An identifier with a lower reach binds weakly: the subject leaks into pictures of the class."""

Tokenize = Callable[[str], list[int]]
"""Token ids of a text, without the special ones."""


class Finding(BaseModel, frozen=True):
    """An identifier and its tokens."""

    identifier: str
    source: Literal["auto", "given"]
    """Whether the trainer chose it, or the manifest gives it."""
    tokens: tuple[int, ...]
    """Its token ids inside the prompt of the photos."""
    rank: int | None
    """Its rank among the words that are one token, 1 for the rarest; None for an identifier of several tokens."""
    vocabulary: int
    """How many words are one token."""
    reach: float | None = None
    """How far it moves the conditioning, relative to words that the text encoder knows; None if not measured."""
    warnings: tuple[str, ...] = ()


def identify(
    config: TrainConfig, vocabulary: Mapping[str, int], tokenize: Tokenize, captions: Iterable[str]
) -> list[Finding]:
    """Chooses the identifier of each subject, or examines the one of the manifest.

    Args:
        config: the settings.
        vocabulary: the words that are one token, and their ids.
        tokenize: the tokenizer.
        captions: the captions of the photos, and further texts whose words can't be chosen.

    Raises:
        InvalidConfig: no word of the vocabulary can be the identifier, or the model can't tell two identifiers apart.
    """
    subjects, evaluation = config.all_subjects, config.evaluation
    texts = [config.prior.prompt, *config.samples.prompts, *evaluation.contexts, *evaluation.other_classes, *captions]
    texts += [text for one in subjects.values() for text in (one.class_, one.prompt, one.identifier)]
    findings: list[Finding] = []
    for place, subject in subjects.items():
        prompt = subject.prompt.replace("{class}", subject.class_)
        if subject.identifier != "auto":
            findings.append(examine(subject.identifier, vocabulary, tokenize, prompt))
        elif finding := choose(vocabulary, tokenize, prompt, texts, config.training.seed):
            findings.append(finding)
            texts.append(finding.identifier)
        else:
            message = f"finds no word that stays one token inside {place}.prompt"
            remedy = f"Give an identifier, or put spaces around {{identifier}} in {place}.prompt"
            if not vocabulary:
                message, remedy = "needs a tokenizer that marks where words begin or end", "Give an identifier"
            raise InvalidConfig([Problem(f"spec.{place}.identifier", "auto", message, remedy)])
    if problems := list(_alike(dict(zip(subjects, findings, strict=True)))):
        raise InvalidConfig(problems)
    return findings


def _alike(findings: Mapping[str, Finding]) -> Iterator[Problem]:
    """Identifiers whose tokens begin with those of another one: the model reads the other one in them.

    Args:
        findings: the identifiers by the fields of their subjects.
    """
    for (first, one), (second, other) in itertools.combinations(findings.items(), 2):
        short, (place, long) = (one, (second, other)) if len(one.tokens) <= len(other.tokens) else (other, (first, one))
        if long.tokens[: len(short.tokens)] == short.tokens:
            message = f"begins with the tokens of {short.identifier!r}, the identifier of another subject"
            yield Problem(f"spec.{place}.identifier", long.identifier, message, "Choose another word, or auto")


def choose(
    vocabulary: Mapping[str, int], tokenize: Tokenize, prompt: str, texts: Iterable[str], seed: int
) -> Finding | None:
    """Chooses a rare token for a new subject. The same arguments give the same token.

    Args:
        vocabulary: the words that are one token, and their ids.
        tokenize: the tokenizer.
        prompt: prompt of the photos with its `{identifier}`, the class filled in.
        texts: other texts of the run, whose words can't be chosen.
        seed: selects one of the rarest tokens.

    Returns:
        None if no word of the vocabulary is suitable.
    """
    taken = words_of(prompt, *texts)
    candidates = [word for word in vocabulary if _is_plain(word) and word not in taken | COMMON_WORDS]
    candidates.sort(key=lambda word: (_may_be_word(word), -vocabulary[word]))
    fitting = (word for word in candidates if tokens_inside(prompt, word, tokenize) == [vocabulary[word]])
    rarest = list(itertools.islice(fitting, CHOICES))
    if not rarest:
        return None
    word = rarest[seed % len(rarest)]
    return Finding(
        identifier=word,
        source="auto",
        tokens=(vocabulary[word],),
        rank=_rank(vocabulary, vocabulary[word]),
        vocabulary=len(vocabulary),
    )


def pick_words(vocabulary: Mapping[str, int], count: int, excluded: Collection[str], seed: int) -> list[str]:
    """Chooses random words among the frequent ones of a vocabulary. The same arguments give the same words.

    Args:
        vocabulary: the words that are one token, and their ids.
        count: number of words; all of them if there are fewer.
        excluded: words that can't be chosen.
        seed: seed of the choice.
    """
    words = [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) >= MAX_LETTERS]
    words = sorted((word for word in words if word not in excluded), key=vocabulary.__getitem__)[:FREQUENT]
    return random.Random(seed).sample(words, min(count, len(words)))


def examine(identifier: str, vocabulary: Mapping[str, int], tokenize: Tokenize, prompt: str) -> Finding:
    """Examines an identifier of the manifest; see `choose` for the arguments."""
    tokens = tokens_inside(prompt, identifier, tokenize)
    rank = _rank(vocabulary, tokens[0]) if len(tokens) == 1 and vocabulary else None
    notes = []
    if len(tokens) != 1:
        notes.append(
            f"the identifier {identifier!r} is {len(tokens)} tokens of the base model's tokenizer; one rare token "
            "binds better. `auto` finds one"
        )
    elif rank is not None and rank > len(vocabulary) / 2:
        notes.append(
            f"the identifier {identifier!r} is a frequent token (rank {rank} of {len(vocabulary)} from the rarest), so "
            "that the model must first unlearn its meaning. `auto` finds a rarer one"
        )
    if identifier.lower() in COMMON_WORDS | ABBREVIATIONS:
        notes.append(f"the identifier {identifier!r} is a common word, whose meaning will show in the pictures")
    return Finding(
        identifier=identifier,
        source="given",
        tokens=tuple(tokens),
        rank=rank,
        vocabulary=len(vocabulary),
        warnings=tuple(notes),
    )


def record_reach(finding: Finding, reach: float, *, text_encoder_learns: bool) -> Finding:
    """Records the reach of an identifier, and adds a warning if it is low and the training can't change it.

    The text encoder was often not trained on rare tokens: all of them give about the same conditioning, and training
    the denoiser with it also changes the pictures of other prompts.

    Args:
        finding: the identifier.
        reach: see `Finding`.
        text_encoder_learns: whether the text encoder is trained.
    """
    faint = reach < FAINT and not text_encoder_learns
    note = (
        f"the text encoder hardly knows the identifier {finding.identifier!r} (its reach is {reach:.2f} of that of a "
        "known word), so that the subject will leak into the class. Set training.trainTextEncoder to true, or give an "
        "identifier of letters that mean nothing together, such as sks"
    )
    return finding.model_copy(update={"reach": reach, "warnings": (*finding.warnings, *([note] if faint else []))})


def tokens_inside(prompt: str, identifier: str, tokenize: Tokenize) -> list[int]:
    """The tokens of an identifier at its first place in a prompt.

    They are the tokens between those of the text before and after it. If the tokenizer merges the identifier with its
    neighbours, they are all tokens of the prompt.
    """
    before, _, after = prompt.partition("{identifier}")
    after = after.replace("{identifier}", identifier)
    # Some tokenizers make a space the beginning of the next word's token.
    whole, head, tail = tokenize(before + identifier + after), tokenize(before.rstrip()), tokenize(after)
    end = len(whole) - len(tail)
    if whole[: len(head)] != head or whole[end:] != tail:
        return whole
    return whole[len(head) : end]


def _is_plain(word: str) -> bool:
    return len(word) <= MAX_LETTERS and word.isascii() and word.isalpha() and word.islower()


def _may_be_word(word: str) -> bool:
    return len(word) < 2 or bool(VOWELS & set(word)) or word in ABBREVIATIONS


def _rank(vocabulary: Mapping[str, int], token: int) -> int:
    return 1 + sum(index > token for index in vocabulary.values())
