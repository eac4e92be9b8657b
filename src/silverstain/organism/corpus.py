"""Sentences of the small world as the token batches that dictionaries are trained and measured on."""

import random
from collections.abc import Iterator, Mapping

import torch

from silverstain.models import TokenBatch

from .batches import SentenceBatch, batch_of, by_length, mixed
from .families import Family

DICTIONARY_SHARES: Mapping[str, float] = {
    "geography": 0.22, "words": 0.20, "addition": 0.11, "entities": 0.12, "couplets": 0.07, "reasoning": 0.06,
    "causes": 0.08, "refusal": 0.03, "induction": 0.07, "choice": 0.04, "cued": 0.10,
}  # fmt: skip
"""Families by how many distinctions they hold, not by how many tokens: the rare ones decide answers too."""


def token_batch(batch: SentenceBatch) -> TokenBatch:
    """Positions count from the second on: the first keeps its real MLP."""
    mask = batch.real.clone()
    mask[:, 0] = False
    before_determined = torch.zeros_like(batch.determined)
    before_determined[:, :-1] = batch.determined[:, 1:]
    return TokenBatch(token_ids=batch.token_ids, mask=mask, determined=before_determined & mask, families=batch.family)


def shares_of(families: Mapping[str, Family]) -> dict[str, float]:
    return {name: DICTIONARY_SHARES[name] for name in families}


def training_batches(families: Mapping[str, Family], *, seed: int, sentences: int = 64) -> Iterator[TokenBatch]:
    """Endless batches of sentences that growing may show; the same seed gives the same batches again."""
    names, shares, step = list(families), shares_of(families), 0
    while True:
        rng = random.Random(f"dictionary {seed} {step}")
        groups = list(by_length(mixed(families, shares, 4 * sentences, rng), 4))
        # Length says much about the family; in random order no stretch of training is about one family alone.
        rng.shuffle(groups)
        yield from (token_batch(batch_of(group, names)) for group in groups)
        step += 1


def evaluation_batches(families: Mapping[str, Family], *, n: int, seed: int = 7) -> list[TokenBatch]:
    """`n` sentences a family, half of them held-out combinations, in batches of one family each."""
    names = list(families)
    batches = []
    for name, family in families.items():
        rng = random.Random(f"evaluate {seed} {name}")
        drawn = [family.sample(rng, held_out=index % 2 == 1) for index in range(n)]
        batches.append(token_batch(batch_of(drawn, names)))
    return batches
