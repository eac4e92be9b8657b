"""What reads the stream of one run: features by their encoder rows, logits by their demeaned unembedding rows."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.edges import Targets
from silverstain.bases import ActiveFeatures, Dictionary
from silverstain.models import LanguageModel, Recording


def feature_targets(
    recording: Recording,
    dictionary: Dictionary,
    active: ActiveFeatures,
    chosen: Int[Tensor, " chosen"] | None = None,
) -> Targets:
    """Active features (all, or those with the chosen indices) as readers: their values are pre-activations at the
    recorded MLP inputs. Only their encoder rows are read."""
    if chosen is not None:
        active = active[chosen]
    inputs = recording.mlp_inputs[active.layer.long(), active.position.long()]
    vectors, constants = torch.zeros_like(inputs), torch.zeros_like(inputs[:, 0])
    for layer in active.layer.unique().tolist():
        here = active.layer == layer
        features = active.feature[here].long()
        vectors[here] = dictionary.encoder_rows(layer, features).to(inputs)
        constants[here] = dictionary.b_enc(layer)[features].to(inputs)
    return Targets(
        vectors=vectors,
        layers=active.layer.long(),
        positions=active.position.long(),
        constants=constants,
        values=values_of(vectors, inputs, constants),
    )


def logit_targets(model: LanguageModel, recording: Recording, token_ids: Sequence[int]) -> Targets:
    """Logits at the last position, before any soft-cap, each less the mean over the vocabulary; their values are what
    the unembedding makes of the recorded output of the final norm."""
    W_U, b_U = model.W_U, model.b_U
    final = recording.final[-1]
    ids = torch.tensor(token_ids, device=final.device)
    vectors = (W_U[ids].double() - W_U.mean(dim=0, dtype=torch.float64)).to(final)
    constants = torch.zeros_like(vectors[:, 0]) if b_U is None else demeaned(b_U, ids)
    return Targets(
        vectors=vectors,
        layers=torch.full_like(ids, model.n_layers),
        positions=torch.full_like(ids, recording.n_positions - 1),
        constants=constants,
        values=values_of(vectors, final[None], constants),
    )


def values_of(
    vectors: Float[Tensor, "target d_model"],
    inputs: Float[Tensor, "#target d_model"],
    constants: Float[Tensor, " target"],
) -> Float[Tensor, " target"]:
    """What targets read in the recorded run, in float64: this is what the sums of edges are held against."""
    return ((vectors.double() * inputs.double()).sum(-1) + constants.double()).to(vectors)


def demeaned(column: Tensor, ids: Tensor) -> Tensor:
    """Entries less the mean of the whole column, [id]."""
    wide = column.double()
    return (wide[ids] - wide.mean()).to(column)
