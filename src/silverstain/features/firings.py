"""Where each feature fires in a corpus, and how strongly: the table from which all cards are made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int

from silverstain.features.corpus import Corpus

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
    from silverstain.models import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Firings:
    """Active features at the counted places of a corpus, sorted by feature, then by place.

    A feature's key is layer · n_features + feature.
    """

    key: Int[np.ndarray, " firing"]
    place: Int[np.ndarray, " firing"]
    activation: Float[np.ndarray, " firing"]
    n_keys: int

    def matrix(self, n_places: int) -> scipy.sparse.csr_matrix:
        """[key, place] activations, zero where a feature is not active."""
        indptr = np.searchsorted(self.key, np.arange(self.n_keys + 1))
        return scipy.sparse.csr_matrix((self.activation, self.place, indptr), shape=(self.n_keys, n_places))


def collect_firings(
    model: "LanguageModel",
    dictionary: "Dictionary",
    corpus: Corpus,
    *,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Firings:
    """Run the model over the corpus once and keep every active feature at the places that count.

    Sentences are batched by length, padded on the right (attention looks left only, so pads change nothing).
    `on_progress(done, total)` counts sentences.
    """
    from silverstain.models import harvest_mlps
    from silverstain.models.prompts import side_by_side

    lengths = np.diff(corpus.starts)
    order = np.argsort(lengths, kind="stable")
    n_done = 0
    keys: list[np.ndarray] = []
    places: list[np.ndarray] = []
    activations: list[np.ndarray] = []
    for numbers in side_by_side(model, lengths[order].tolist(), batch_size):
        rows = order[numbers]
        n_done += len(rows)
        token_ids, place = _padded(corpus, rows)
        mlp_inputs, _ = harvest_mlps(model, token_ids.to(model.device), reads_at=dictionary.reads_at)
        counted = (place >= 0) & corpus.counted[place]
        kept = torch.from_numpy(counted).to(mlp_inputs.device)
        for layer in range(dictionary.n_layers):
            dense = dictionary.encode_layer(layer, mlp_inputs[layer][kept].to(dictionary.dtype))
            at, feature = (part.cpu().numpy() for part in dense.nonzero(as_tuple=True))
            keys.append(feature + layer * dictionary.n_features)
            places.append(place[counted][at])
            activations.append(dense.cpu().numpy()[at, feature].astype(np.float32))
        if on_progress is not None:
            on_progress(n_done, len(order))
    key, where, strength = (np.concatenate(parts) for parts in (keys, places, activations))
    sort = np.lexsort((where, key))
    n_keys = dictionary.n_layers * dictionary.n_features
    return Firings(key=key[sort], place=where[sort], activation=strength[sort], n_keys=n_keys)


def _padded(corpus: Corpus, rows: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Token ids [batch, pos] padded on the right with token 0, and the place of each (-1: padding)."""
    lengths = corpus.starts[rows + 1] - corpus.starts[rows]
    columns = np.arange(lengths.max())
    inside = columns[None] < lengths[:, None]
    place = np.where(inside, corpus.starts[rows][:, None] + columns[None], -1)
    return torch.from_numpy(np.where(inside, corpus.token_ids[place], 0)), place


def strongest_by_sentence(firings: Firings, corpus: Corpus) -> scipy.sparse.csr_matrix:
    """[key, sentence]: the largest activation of each feature in each sentence."""
    if not len(firings.key):
        return scipy.sparse.csr_matrix((firings.n_keys, corpus.n_sentences), dtype=np.float32)
    pair = firings.key.astype(np.int64) * corpus.n_sentences + corpus.sentence[firings.place]
    # firings are sorted by key and place, so those of one pair stand together
    first = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]]))
    largest = np.maximum.reduceat(firings.activation, first)
    key, sentence = np.divmod(pair[first], corpus.n_sentences)
    return scipy.sparse.csr_matrix((largest, (key, sentence)), shape=(firings.n_keys, corpus.n_sentences))
