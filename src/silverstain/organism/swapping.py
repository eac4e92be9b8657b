"""A state swapped for another in a question about a town, by the mean difference of what features do.

Every feature is moved by the difference between its mean activation on questions about towns of the one state and of
the other. Neither the prompt's own town nor any single donor prompt need have a part in it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.interventions import Edit
from silverstain.models import harvest_mlps
from silverstain.organism.two_hop import RecordedQuestions

SHARE_MOVED = 0.9
"""The fewest features are moved that carry this share of the difference, as they are written to the stream."""


def state_swap_edits(
    recorded: RecordedQuestions,
    prompt: str,
    one: Int[Tensor, " one"],
    other: Int[Tensor, " other"],
    *,
    most: int | None = None,
) -> list[Edit]:
    """Edits at the last position, in every layer, by the mean over questions `other` less that over questions `one`.

    In each layer the fewest features are moved that carry nearly all of the difference; in all no more than `most`,
    those whose change is written largest.
    """
    model, dictionary = recorded.model, recorded.dictionary
    ids = torch.tensor([model.tokenize(prompt)])
    inputs = harvest_mlps(model, ids, reads_at=dictionary.reads_at).mlp_inputs[:, 0, -1]
    differences: list[Tensor] = []
    sizes: list[Tensor] = []
    for layer in range(dictionary.n_layers):
        everyone = recorded.activations(layer, -1)
        rows = dictionary.decoder_rows(layer, torch.arange(dictionary.n_features)).flatten(1)
        differences.append(everyone[other].mean(0) - everyone[one].mean(0))
        sizes.append(differences[-1].abs() * rows.norm(dim=1))
    edits: list[Edit] = []
    for layer, features in enumerate(_largest(sizes, most)):
        if len(features):
            values = dictionary.encode_layer(layer, inputs[layer])[features] + differences[layer][features]
            pairs = tuple((layer, feature) for feature in features.tolist())
            edits.append(Edit(op="patch", features=pairs, positions=(len(ids[0]) - 1,), donor=tuple(values.tolist())))
    return edits


def _largest(sizes: Sequence[Float[Tensor, " feature"]], most: int | None) -> list[Int[Tensor, " k"]]:
    """By layer, the features to move."""
    chosen = [_fewest(size) for size in sizes]
    if most is None or sum(map(len, chosen)) <= most:
        return chosen
    ranked = torch.cat([size[features] for size, features in zip(sizes, chosen, strict=True)]).sort(descending=True)
    least = ranked.values[most - 1]
    return [features[size[features] >= least] for size, features in zip(sizes, chosen, strict=True)]


def _fewest(size: Float[Tensor, " feature"]) -> Int[Tensor, " k"]:
    """The fewest features that carry SHARE_MOVED of the size, at most half of all so that others can be controls."""
    ranked, order = size.sort(descending=True)
    if float(ranked.sum()) == 0:
        return order[:0]
    n = int((ranked.cumsum(0) < SHARE_MOVED * ranked.sum()).sum()) + 1
    return order[: min(n, len(size) // 2)].sort().values
