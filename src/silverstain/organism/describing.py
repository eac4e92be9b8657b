"""What the features of an organism's dictionary mean: cards over its own world, kept beside the dictionary."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from silverstain.bases.layout import CARDS
from silverstain.features import Cards, Sample, build_cards

from .batches import tokens_of
from .files import dictionary_path, load_organism
from .siblings import siblings

SENTENCES = 4000
"""In all; enough for each of some two hundred towns to occur a few times (features that fire once get no name)."""


def describe_dictionary(
    sibling: str,
    kind: str,
    *,
    folder: Path | None = None,
    n: int = SENTENCES,
    seed: int = 11,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cards:
    """Build the cards of one dictionary over `n` sentences of its organism's families, and write them beside it."""
    model, dictionary = load_organism(sibling, kind, folder=folder)
    cards = build_cards(model, dictionary, samples_of(sibling, n=n, seed=seed), on_progress=on_progress)
    cards.save(dictionary_path(sibling, kind, folder) / CARDS)
    return cards


def samples_of(sibling: str, *, n: int, seed: int) -> Iterator[Sample]:
    """Sentences of all families in turn, with their hidden values; held-out combinations too, as nothing is learnt."""
    families = siblings()[sibling].families()
    rng = random.Random(f"describe {seed} {sibling}")
    for index in range(n):
        family = list(families.values())[index % len(families)]
        sentence = family.sample(rng, held_out=index % 5 == 0)
        token_ids, _ = tokens_of(sentence)
        yield Sample(token_ids=token_ids, variables=dict(sentence.variables))
