"""The organism's tokenizer: whole words, digits, and shared pieces for the names of towns."""

import functools
import random
from collections.abc import Iterable, Mapping

from .composing import families as composing_families
from .composing.couplets import OWNERS, SIZES
from .composing.reasoning import AMOUNTS, DIRECTIONS
from .composing.words import SPEAKERS
from .families import Family, families
from .families.causes import SIGNS, SYMPTOMS
from .families.couplets import ADJECTIVES, KINDS, NEUTRAL_ADJECTIVES, NEUTRAL_VERBS, VERBS, rhymes
from .families.entities import DRINKS, PLACES, SPORTS
from .families.induction import SYLLABLES
from .families.reasoning import FUNCTIONS
from .families.refusal import GROUPS, KIND
from .families.words import LANGUAGE_NAMES
from .world import RELATIONS, default_geography, default_lexicon, rows_with_header

PAD, BOS, UNK = "<pad>", "<bos>", "<unk>"
DIGITS = tuple("0123456789")
SIBLING_WORDS = ("note", "purple")
"""Words that only siblings are grown on; every sibling shares one vocabulary, so that they can be compared."""
SPLIT = r"[0-9]|[.,;:?+=]"
"""Digits and signs are tokens of their own, however they are typed."""


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Every token: those of the first world, then those that the composing one adds, which the first never meets."""
    first = _first_words()
    more = set(_template_words(composing_families())) | set(composing_words())
    return (*first, *sorted(word for word in more if word not in first and not word.isdigit()))


def _first_words() -> tuple[str, ...]:
    """Special tokens, digits, words in alphabetical order, continuation pieces `##las`."""
    words = set(_listed_words()) | set(_template_words(families())) | set(SIBLING_WORDS)
    pieces = dict(rows_with_header("pieces"))
    words |= set(pieces["prefix"].split())
    words = {word for word in words if not word.isdigit()}
    return (PAD, BOS, UNK, *DIGITS, *sorted(words), *(f"##{piece}" for piece in pieces["suffix"].split()))


def _listed_words() -> Iterable[str]:
    geography, lexicon = default_geography(), default_lexicon()
    for state in geography.states:
        yield state.name
        yield from (state.fact(relation) for relation in RELATIONS)
    yield from lexicon.every_word()
    yield from (word for word, _ in rhymes().words)
    for names in dict(rows_with_header("names")).values():
        yield from names.split()
    for group in (SPORTS, DRINKS, PLACES, FUNCTIONS, SYMPTOMS, SIGNS, SYLLABLES, KINDS, GROUPS, KIND, *LANGUAGE_NAMES):
        yield from group
    for group in (*VERBS.values(), *ADJECTIVES.values(), NEUTRAL_VERBS, NEUTRAL_ADJECTIVES):
        yield from group


def composing_words() -> Iterable[str]:
    """Words of the composing world that only few of its sentences have."""
    return (*OWNERS, *SIZES, *SPEAKERS, *AMOUNTS, *DIRECTIONS)


def _template_words(sampled: Mapping[str, Family]) -> Iterable[str]:
    """Words of the templates, met by sampling: a few hundred sentences show each template many times."""
    towns = {town.name for town in default_geography().towns}
    rng = random.Random("vocabulary")
    for family in sampled.values():
        for _ in range(400):
            yield from (word for word in family.sample(rng).words if word not in towns)


@functools.cache
def piece_ids() -> Mapping[str, tuple[int, ...]]:
    """Token ids of every word of the world, towns included; numbers are added on demand by `encode`."""
    ids = {token: index for index, token in enumerate(vocabulary())}
    table: dict[str, tuple[int, ...]] = {word: (index,) for word, index in ids.items()}
    for town in default_geography().towns:
        table[town.name] = (ids[town.prefix], ids[f"##{town.suffix}"])
    return table


def word_ids(word: str) -> tuple[int, ...]:
    """Token ids of one word of a sentence."""
    table = piece_ids()
    if word.isdigit():
        return tuple(table[digit][0] for digit in word)
    return table[word]


def build_tokenizer():
    """The Hugging Face tokenizer of the organism; it agrees with `word_ids` on every sentence of the world."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNK, continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(SPLIT), "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, pad_token=PAD, unk_token=UNK, clean_up_tokenization_spaces=False
    )
