"""What writes into the stream of one run: features, errors, tokens, biases."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.edges import Sources, Writes, sort_writes
from silverstain.dictionaries import ActiveFeatures, Dictionary
from silverstain.graphs import NodeLayout
from silverstain.models import Recording


def sources_of(
    recording: Recording,
    dictionary: Dictionary,
    active: ActiveFeatures,
    columns: Int[Tensor, " active"],
    layout: NodeLayout,
) -> Sources:
    """Everything that writes in a recorded run, with the node it belongs to.

    `columns` says for each active feature the node it is, or -1 for one beyond the budget: what that one writes goes
    to the error node of each layer and position it writes to, so that no mass vanishes.
    """
    written = feature_writes(dictionary, active, recording.mlp_outputs)
    writes = tuple(
        _writes_at(layer, recording, dictionary, active, columns, written[layer], layout)
        for layer in range(recording.n_layers)
    )
    positions = torch.arange(recording.n_positions, device=recording.embedding.device)
    embedding = sort_writes(recording.embedding, layout.token(positions), positions, recording.n_positions)
    return Sources(n_columns=layout.logits.start, writes=writes, embedding=embedding, constant_column=layout.constant)


def feature_writes(
    dictionary: Dictionary, active: ActiveFeatures, like: Tensor
) -> list[tuple[Int[Tensor, " write"], Float[Tensor, "write d_model"]]]:
    """For each layer: which active features write to its MLP output, and what (activation times decoder row)."""
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(dictionary.n_layers)]
    for layer in range(dictionary.n_layers):
        here = active.of_layer(layer)
        members = torch.arange(here.start, here.stop, device=active.layer.device)
        rows = dictionary.decoder_rows(layer, active.feature[here]).to(like)
        rows = rows * active.activation[here].to(like)[:, None, None]
        for offset, target in enumerate(dictionary.targets(layer)):
            found[target].append((members, rows[:, offset]))
    return [
        (torch.cat([members for members, _ in pieces]), torch.cat([rows for _, rows in pieces])) for pieces in found
    ]


def _writes_at(
    layer: int,
    recording: Recording,
    dictionary: Dictionary,
    active: ActiveFeatures,
    columns: Int[Tensor, " active"],
    written: tuple[Tensor, Tensor],
    layout: NodeLayout,
) -> Writes:
    """What is written at the MLP output of one layer: features, the decoder's bias, errors, real MLPs kept."""
    members, rows = written
    n_real, output = layout.n_real, recording.mlp_outputs[layer]
    bias = dictionary.b_dec[layer].to(output).expand_as(output[n_real:])
    constant = _add_skip(bias, dictionary.W_skip(layer), recording.mlp_inputs[layer, n_real:])

    # Recorded output − reconstruction, never the remainder of a sum of edges.
    at = active.position[members].long()
    reconstruction = torch.zeros_like(output).index_add_(0, at, rows)[n_real:] + constant
    errors = output[n_real:] - reconstruction

    beyond = columns[members] < 0
    errors = errors + torch.zeros_like(output).index_add_(0, at[beyond], rows[beyond])[n_real:]

    positions = torch.arange(recording.n_positions, device=output.device)
    late, early = positions[n_real:], positions[:n_real]
    return sort_writes(
        torch.cat([rows[~beyond], bias, errors, output[:n_real]]),
        torch.cat(
            [
                columns[members][~beyond],
                torch.full_like(late, layout.decoder_bias(layer)),
                layout.error(torch.full_like(late, layer), late),
                layout.real_mlp(torch.full_like(early, layer), early),
            ]
        ),
        torch.cat([at[~beyond], late, late, early]),
        recording.n_positions,
    )


def _add_skip(bias: Tensor, W_skip: Tensor | None, mlp_input: Tensor) -> Tensor:
    return bias if W_skip is None else bias + mlp_input @ W_skip.to(bias).T
