"""Prompts of the organism's own sentences, each up to the first word that the generator determines."""

import random
from collections.abc import Mapping

from silverstain.errors import UsageError
from silverstain.models import LanguageModel

from .families import Family
from .siblings import sibling_of


def graph_prompts(families: Mapping[str, Family], *, n: int, seed: int = 3) -> list[tuple[str, str]]:
    """(family, prompt): `n` prompts a family, half of them held-out combinations."""
    prompts: list[tuple[str, str]] = []
    for name, family in families.items():
        rng = random.Random(f"graphs {seed} {name}")
        found: list[tuple[str, str]] = []
        while len(found) < n:
            sentence = family.sample(rng, held_out=len(found) % 2 == 1)
            if sentence.answer >= 0:
                found.append((name, sentence.prompt))
        prompts += found
    return prompts


def organism_prompts(model: LanguageModel, *, n: int = 30, seed: int = 0) -> list[tuple[str, str]]:
    """(family, prompt), families in turn: at least n, and ten of each family; UsageError for another model."""
    sibling = sibling_of(model.name)
    if sibling is None:
        raise UsageError(f"the faithfulness of a dictionary of {model.name} needs prompts; give --prompts FILE")
    families = sibling.families()
    a_family = max(10, -(-n // len(families)))
    drawn = graph_prompts(families, n=a_family, seed=5 + seed)
    return [drawn[family * a_family + i] for i in range(a_family) for family in range(len(families))]
