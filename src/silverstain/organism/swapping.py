"""A state swapped for another in a question about a town, by the mean difference of what features do.

Every feature is moved by the difference between its mean activation on questions about towns of the one state and of
the other. Neither the prompt's own town nor any single donor prompt need have a part in it.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.interventions import Edit
from silverstain.models import harvest_mlps
from silverstain.organism.two_hop import RecordedQuestions

SHARE_MOVED = 0.9
"""The fewest features are moved that carry this share of the difference, as they are written to the stream."""


def state_swap_edits(
    recorded: RecordedQuestions, prompt: str, one: Int[Tensor, " one"], other: Int[Tensor, " other"]
) -> list[Edit]:
    """Edits at the last position, in every layer, by the mean over questions `other` less that over questions `one`."""
    model, dictionary = recorded.model, recorded.dictionary
    ids = torch.tensor([model.tokenize(prompt)])
    inputs = harvest_mlps(model, ids, reads_at=dictionary.reads_at).mlp_inputs[:, 0, -1]
    edits: list[Edit] = []
    for layer in range(dictionary.n_layers):
        activation, everyone = dictionary.encode_layer(layer, inputs[layer]), recorded.activations(layer, -1)
        difference = everyone[other].mean(0) - everyone[one].mean(0)
        rows = dictionary.decoder_rows(layer, torch.arange(dictionary.n_features)).flatten(1)
        features = _fewest(difference.abs() * rows.norm(dim=1))
        if len(features):
            values = activation[features] + difference[features]
            pairs = tuple((layer, feature) for feature in features.tolist())
            edits.append(Edit(op="patch", features=pairs, positions=(len(ids[0]) - 1,), donor=tuple(values.tolist())))
    return edits


def _fewest(size: Float[Tensor, " feature"]) -> Int[Tensor, " k"]:
    """The fewest features that carry SHARE_MOVED of the size, at most half of all so that others can be controls."""
    ranked, order = size.sort(descending=True)
    if float(ranked.sum()) == 0:
        return order[:0]
    n = int((ranked.cumsum(0) < SHARE_MOVED * ranked.sum()).sum()) + 1
    return order[: min(n, len(size) // 2)].sort().values
