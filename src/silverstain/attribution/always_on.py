"""Neurons that contribute about as much whatever the prompt says: a part of every circuit, and evidence of none.

They are found by a rule, for each model once: over a few fixed prompts that have nothing in common, the neuron's share
of all contributions never falls below LEAST, nor below MANY times that of an average neuron, and varies little, its
standard deviation being at most STEADY times its mean. Nothing is dropped because of it: graphs say which of their
neurons it holds for.
"""

from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution.neuron_selection import contributions
from silverstain.attribution.recorded import record_run
from silverstain.attribution.targets import logit_targets
from silverstain.bases import NeuronBasis
from silverstain.errors import UsageError
from silverstain.models import LanguageModel

PROMPTS = (
    "The river rises in the mountains north of the",
    "def add(a, b):\n    return",
    "12 34 56",
    "Zwei Hunde laufen durch den",
)
LEAST = 1e-3
"""A smaller share in one of the prompts is none that is always there."""
MANY = 10
STEADY = 0.5
LENGTH = 10
"""Tokens drawn for each prompt where the model cannot read these."""

_found: "WeakKeyDictionary[LanguageModel, frozenset[tuple[int, int]]]" = WeakKeyDictionary()


def always_on(model: LanguageModel) -> frozenset[tuple[int, int]]:
    """(layer, neuron) of those that are always on; found once for each model."""
    if model not in _found:
        basis = NeuronBasis(model)
        shares = torch.stack([_shares(model, basis, tokens) for tokens in _prompts(model)]).double()
        mean, spread = shares.mean(0), shares.std(0)
        least = max(LEAST, MANY / mean.numel())
        is_steady = (shares.amin(0) >= least) & (spread <= STEADY * mean)
        _found[model] = frozenset((layer, feature) for layer, feature in is_steady.nonzero().tolist())
    return _found[model]


@torch.no_grad()
def _shares(model: LanguageModel, basis: NeuronBasis, tokens: list[int]) -> Float[Tensor, "layer unit"]:
    """Each neuron's share, over all positions, in what contributes to the likeliest token."""
    run = record_run(model, basis, tokens)
    last = run.n_positions - 1
    roots = logit_targets(model, [int(run.recording.logits[last].argmax())], [last])
    scores = contributions(run.flow(), run.recording, basis, roots, torch.ones(1)).sum(1)
    return scores / scores.sum().clamp_min(torch.finfo(scores.dtype).tiny)


def _prompts(model: LanguageModel) -> list[list[int]]:
    """The tokens of the prompts, or drawn ones where the model cannot read them."""
    generator, found = torch.Generator().manual_seed(0), []
    for text in PROMPTS:
        try:
            tokens = model.tokenize(text)
        except UsageError:
            n = min(LENGTH, model.max_positions)
            tokens = torch.randint(model.d_vocab, (n,), generator=generator).tolist()
        found.append(tokens)
    return found
