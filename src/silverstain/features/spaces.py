"""The classes a feature may stand for, made from the corpus.

Five spaces of classes, each a set of named sets of places or sentences:

    word         places where this word (or its first pieces, dal…) has just been read
    next         places before this word
    value        sentences in which a hidden variable has this value: state = texas
    word class   places whose token ends the value of a variable: a town
    next class   places before the value of a variable, or before an answer of a kind: a capital
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from silverstain.features.corpus import Corpus, Words
from silverstain.features.matching import Classes, classes_from_pairs

ANSWER = "answer"
"""The variable whose values are of many kinds; its classes are named by the kind: a capital, not an answer."""
MIN_KINDS = 5
"""A class of `next class` counts only if this many different words follow its places."""

Pairs = list[tuple[int, str]]


@dataclass(frozen=True, kw_only=True)
class Spaces:
    """The five spaces over one corpus."""

    word: Classes
    next: Classes
    value: Classes
    word_class: Classes
    next_class: Classes
    first_tokens: Mapping[str, frozenset[int]]
    """The tokens that follow the places of each class of `next` ("next:…") and of `next_class` ("class:…")."""


def spaces_of(corpus: Corpus, words: Words) -> Spaces:
    """All classes of a corpus, over counted places and all sentences."""
    word, following, word_class, next_class = _places(corpus, words)
    first_tokens: dict[str, set[int]] = defaultdict(set)
    for prefix, pairs in (("next", following), ("class", next_class)):
        for place, name in pairs:
            first_tokens[f"{prefix}:{name}"].add(int(corpus.token_ids[place + 1]))
    value = [
        (sentence, f"{name} = {held}")
        for sentence, variables in enumerate(corpus.variables)
        for name, held in variables.items()
    ]
    return Spaces(
        word=classes_from_pairs(word, corpus.n_places),
        next=classes_from_pairs(following, corpus.n_places),
        value=classes_from_pairs(value, corpus.n_sentences),
        word_class=classes_from_pairs(word_class, corpus.n_places),
        next_class=classes_from_pairs(_of_many_words(next_class, words), corpus.n_places),
        first_tokens={name: frozenset(tokens) for name, tokens in first_tokens.items()},
    )


def _places(corpus: Corpus, words: Words) -> tuple[Pairs, Pairs, Pairs, Pairs]:
    """(place, class) pairs of the four spaces over places."""
    word: Pairs = []
    following: Pairs = []
    word_class: Pairs = []
    next_class: Pairs = []
    for sentence, variables in enumerate(corpus.variables):
        first, stop = int(corpus.starts[sentence]), int(corpus.starts[sentence + 1])
        for place in range(first, stop):
            if corpus.counted[place]:
                word.append((place, words.current[place]))
                if (follows := words.following[place]) is not None:
                    following.append((place, follows))
        present = set(words.current[first:stop])
        for start, end, variable in _spelled(words, first, stop, variables):
            if corpus.counted[end - 1]:
                word_class.append((end - 1, variable))
            if start > first and corpus.counted[start - 1]:
                next_class.extend((start - 1, name) for name in _names_before(variable, variables, present))
    return word, following, word_class, next_class


def _spelled(words: Words, first: int, stop: int, variables: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """(start, end, variable) wherever the value of a variable is written in a sentence."""
    for place in range(first, stop):
        if words.starts[place]:
            for variable, value in variables.items():
                end = _end_of(words, place, stop, value.replace(" ", ""))
                if end is not None:
                    yield place, end, variable


def _end_of(words: Words, place: int, stop: int, value: str) -> int | None:
    """Where `value`, written without spaces, ends if it is written from this place on; None if it is not."""
    text = ""
    while place < stop and len(text) < len(value):
        end = place + 1
        while end < stop and not words.starts[end]:
            end += 1
        text += words.current[end - 1]
        place = end
        if not value.startswith(text):
            return None
    return place if value and text == value else None


def _names_before(variable: str, variables: Mapping[str, str], present: set[str]) -> Iterator[str]:
    """Names of the classes of places before a value of `variable`: the variable, or for an answer what it answers.

    A value that the sentence spells out (relation = capital, in "the capital of …") names the kind of answer.
    """
    if variable != ANSWER:
        yield variable
        return
    yield ANSWER
    for other, value in variables.items():
        if other != ANSWER and value != variables[ANSWER]:
            yield value if value in present else f"{ANSWER} where {other} = {value}"


def _of_many_words(pairs: Sequence[tuple[int, str]], words: Words) -> Pairs:
    """Only classes that at least MIN_KINDS different words follow."""
    kinds: dict[str, set[str | None]] = defaultdict(set)
    for place, name in pairs:
        kinds[name].add(words.following[place])
    return [(place, name) for place, name in pairs if len(kinds[name]) >= MIN_KINDS]
