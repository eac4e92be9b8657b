"""A task's circuit: the units that matter most over the development pairs, and how many of them at what strength.

Two ways to choose units are tried on the same pairs. *Shared*: one set of keys for the whole task, those with the
largest mean account over development pairs, so that nothing is known of a test pair but that its units get the
activations of its counterfactual. *By pair*: the units with the largest account of the pair itself, the exact contrast
of `silverstain trace --contrast`; only how many, and how strongly, is fixed on development pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis
from silverstain.models import LanguageModel
from silverstain.studies.pretrained.gates import answered
from silverstain.studies.pretrained.pairs import PromptFamily
from silverstain.studies.pretrained.recorded import Recorded, recorded, token_pairs

SHARED_SIZES = (100, 300, 1000, 3000)
PAIR_SIZES = (10, 30, 100)
STRENGTHS = (1.0, 1.5)
ENOUGH = 0.9
"""Share of development pairs that a size and strength must turn; the smallest that does is taken."""
FEWEST = 6
"""Development pairs, below which nothing is chosen."""
N_BOOTSTRAPS = 50
Chosen = Callable[[Recorded, int], Int[Tensor, " some"]]
"""From a pair and a size to units."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many, how strongly, and the share of development pairs that this turns."""

    k: int
    strength: float
    turned: float

    def to_json(self) -> dict[str, Any]:
        return {"k": self.k, "strength": self.strength, "turned_on_development": self.turned}


@dataclass(frozen=True, kw_only=True, eq=False)
class Circuit:
    """What development pairs of a family fix.

    Attributes:
        ranked: The keys with the largest mean account, the largest first; as many as the largest size.
        nonsense: The same for the nonsense task.
        stability: Mean Jaccard index of the shared set and those of resampled pairs, and the same of sets whose pairs
            count with a random sign, as labels exchanged at random would have it.
    """

    family: PromptFamily
    pairs: tuple[Recorded, ...]
    ranked: Int[Tensor, " key"]
    nonsense: Int[Tensor, " key"]
    shared: Size
    by_pair: Size
    stability: tuple[float, float]

    def keys(self, k: int | None = None) -> Int[Tensor, " key"]:
        """The shared circuit, or one of another size."""
        return self.ranked[: self.shared.k if k is None else k]

    def own(self, pair: Recorded) -> Int[Tensor, " some"]:
        return pair.units_of(self.keys())


def circuit_of(model: LanguageModel, basis: Basis, family: PromptFamily, n: int, seed: int) -> Circuit | None:
    """The circuit of a family; None where the model answers too few development pairs rightly.

    How many and how strongly is asked of one half of the development pairs with the units of the other, so that it is
    not the fit that is judged; the units themselves are then those of all development pairs.
    """
    asked = answered(model, token_pairs(model, family, "development", n + n // 2, seed))
    pairs = list(recorded(model, basis, family, [one for one in asked if one.is_right][:n]))
    if len(pairs) < FEWEST:
        return None
    scores = torch.stack([key_scores(pair) for pair in pairs])
    ranked = scores.mean(0).topk(SHARED_SIZES[-1]).indices
    nonsense = torch.stack([key_scores(pair, 1) for pair in pairs]).mean(0).topk(SHARED_SIZES[-1]).indices
    by_one_half = scores[::2].mean(0).topk(SHARED_SIZES[-1]).indices
    shared = smallest(pairs[1::2], lambda pair, k: pair.units_of(by_one_half[:k]), SHARED_SIZES)
    by_pair = smallest(pairs[1::2], lambda pair, k: pair.best(k), PAIR_SIZES)
    return Circuit(
        family=family, pairs=tuple(pairs), ranked=ranked, nonsense=nonsense, shared=shared, by_pair=by_pair,
        stability=stability(scores, shared.k, seed),
    )  # fmt: skip


def key_scores(pair: Recorded, target: int = 0) -> Float[Tensor, " key"]:
    """The account of each key: the sum over its positions."""
    basis = pair.contrast.basis
    counts = (pair.key >= 0) & pair.able
    scores = torch.zeros(3 * basis.n_layers * basis.n_features)
    return scores.index_add_(0, pair.key[counts], pair.account(target)[counts].float())


def smallest(pairs: Sequence[Recorded], chosen: Chosen, sizes: Sequence[int]) -> Size:
    """The smallest size, then the smallest strength, that turns enough pairs; the best where none does."""
    tried: list[Size] = []
    for k in sizes:
        turned = torch.zeros(len(STRENGTHS))
        for pair in pairs:
            units = chosen(pair, k)
            patches = [pair.patch(units, pair.moved(units, strength)) for strength in STRENGTHS]
            turned += torch.tensor([float(pair.is_turned(logits)) for logits in pair.patching.logits(patches)])
        shares = (turned / len(pairs)).tolist()
        tried += [Size(k=k, strength=at, turned=share) for at, share in zip(STRENGTHS, shares, strict=True)]
        for size in tried[-len(STRENGTHS) :]:
            if size.turned >= ENOUGH:
                return size
    return max(tried, key=lambda size: size.turned)  # the first of equals


def stability(scores: Float[Tensor, "pair key"], k: int, seed: int) -> tuple[float, float]:
    """How alike the sets of resampled pairs are to the whole set's, and those of pairs with random signs to theirs."""
    generator = torch.Generator().manual_seed(seed)
    n = len(scores)
    signs = torch.randint(2, (n, 1), generator=generator) * 2.0 - 1
    found = []
    for rows in (scores, scores * signs):
        whole = rows.mean(0).topk(k).indices
        shares = []
        for _ in range(N_BOOTSTRAPS):
            drawn = rows[torch.randint(n, (n,), generator=generator)].mean(0).topk(k).indices
            common = int(torch.isin(drawn, whole).sum())
            shares.append(common / (2 * k - common))
        found.append(sum(shares) / len(shares))
    return found[0], found[1]
