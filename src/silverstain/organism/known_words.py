"""What the organism knows, by kind, for a person who wants to write a prompt."""

from collections.abc import Iterable, Mapping

from .families.causes import SIGNS, SYMPTOMS
from .families.couplets import rhymes
from .families.entities import DRINKS, PLACES, SPORTS
from .families.induction import SYLLABLES
from .families.reasoning import FUNCTIONS
from .families.refusal import GROUPS
from .language import BOS, PAD, UNK, vocabulary
from .world import LANGUAGES, RELATIONS, default_geography, default_lexicon, rows_with_header


def known_words() -> Mapping[str, tuple[str, ...]]:
    """Kind -> its words in alphabetical order. Every word of the vocabulary is there, those of no kind as `other`."""
    geography, names = default_geography(), dict(rows_with_header("names"))
    kinds: dict[str, Iterable[str]] = {
        "states": (state.name for state in geography.states),
        "towns": (town.name for town in geography.towns),
        **{f"{relation}s of states": [state.fact(relation) for state in geography.states] for relation in RELATIONS},
        **{
            f"opposites in {language}": [concept.words[index] for concept in default_lexicon().concepts]
            for index, language in enumerate(LANGUAGES)
        },
        "rhymes": (word for word, _ in rhymes().words),
        "first names": names["first"].split(),
        "last names": names["last"].split(),
        "sports": SPORTS,
        "drinks": DRINKS,
        "places": PLACES,
        "symptoms": SYMPTOMS,
        "signs": SIGNS,
        "substances": (name for group in GROUPS.values() for name in group),
        "groups of substances": GROUPS,
        "functions": FUNCTIONS,
        "syllables": SYLLABLES,
    }
    found = {kind: tuple(sorted(set(words))) for kind, words in kinds.items()}
    listed = {word for words in found.values() for word in words} | {PAD, BOS, UNK}
    others = (token for token in vocabulary() if token not in listed and not token.startswith("##"))
    pieces = {town.prefix for town in geography.towns}
    return {**found, "other words": tuple(sorted(word for word in others if word not in pieces))}
