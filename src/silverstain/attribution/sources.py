"""What writes into the stream of one run: features, errors, tokens, biases."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.edges import Sources, Writes, sort_writes
from silverstain.attribution.flow import FrozenFlow
from silverstain.attribution.frozen_norm import FrozenNorm
from silverstain.bases import ActiveUnits, Basis
from silverstain.graphs import NodeLayout
from silverstain.models import Recording

WRITES_AT_ONCE = 1 << 14
CARRIED_BYTES = 64 * 2**20
"""Embeddings are carried through layer 0's attention ahead of time while that takes no more room than this."""


def sources_of(
    recording: Recording,
    basis: Basis,
    active: ActiveUnits,
    columns: Int[Tensor, " active"],
    layout: NodeLayout,
    flow: FrozenFlow | None = None,
    written: "Sequence[Written] | None" = None,
) -> Sources:
    """Everything that writes in a recorded run, with the node it belongs to.

    `columns` says for each active feature the node it is, or -1 for one beyond the budget: what that one writes goes
    to the error node of each layer and position it writes to, so that no mass vanishes. With the run's `flow` what
    is lowest is brought as far up as pays, once for all targets: the embedding to the values of layer 0's attention,
    or, of a short prompt, behind that attention and with the writes of layer 0 to the values of the next.
    """
    written = written_by(recording, basis, active, flow) if written is None else written
    writes = tuple(
        _writes_at(layer, recording, basis, active, columns, written[layer], layout, flow)
        for layer in range(recording.n_layers)
    )
    positions = torch.arange(recording.n_positions, device=recording.embedding.device)
    embedding = dense_writes(recording.embedding, layout.token(positions), positions, recording.n_positions)
    sources = Sources(
        n_columns=layout.logits.start, writes=writes, embedding=embedding, constant_column=layout.constant
    )
    return sources if flow is None else _read_at_values(sources, recording, layout, flow)


def _read_at_values(sources: Sources, recording: Recording, layout: NodeLayout, flow: FrozenFlow) -> Sources:
    """The same sources, the lowest of them as the values of an attention have them, so that it need not be crossed."""
    n = recording.n_positions
    positions = torch.arange(n, device=recording.embedding.device)
    fits = n * n * recording.embedding[0].nbytes <= CARRIED_BYTES
    if flow.is_parallel or flow.W_skip[0] is not None or not fits:
        rows = flow.at_values(0, recording.embedding, positions)
        values = dense_writes(rows, sources.embedding.columns, positions, n)
        return replace(sources, values=values, values_layer=0)
    query, key = torch.tril_indices(n, n, device=positions.device)
    rows, columns, at = [flow.carried(recording.embedding)[query, key]], [layout.token(key)], [query]
    bias = flow.attention_bias[0]
    if bias is not None:
        rows.append(bias.expand(n, -1))
        columns.append(torch.full_like(positions, layout.constant))
        at.append(positions)
    embedding = dense_writes(torch.cat(rows), torch.cat(columns), torch.cat(at), n)
    if flow.n_layers == 1:
        return replace(sources, embedding=embedding, values_layer=1)
    first = sources.writes[0]
    below = torch.cat([first.rows(slice(None)), embedding.rows(slice(None))])
    places = torch.cat([first.positions, embedding.positions])
    columns_below = torch.cat([first.columns, embedding.columns])
    values = dense_writes(flow.at_values(1, below, places), columns_below, places, n)
    return replace(sources, embedding=embedding, values=values, values_layer=1)


class Written(NamedTuple):
    """What active features write at one layer's MLP output, each a multiple of a decoder row."""

    table: Float[Tensor, "unique d_model"]
    row: Int[Tensor, " write"]
    member: Int[Tensor, " write"]
    """Which of all active features."""
    total: Float[Tensor, "pos d_model"]
    """All of it together."""


def written_by(
    recording: Recording, basis: Basis, active: ActiveUnits, flow: FrozenFlow | None = None
) -> list[Written]:
    """What active features write, layer by layer, through the norm of the run's `flow` behind an MLP where they write
    before it. It does not depend on which of them are nodes."""
    return [
        _written_at(
            target, basis, active, recording.mlp_outputs[target], None if flow is None else flow.write_norm(target)
        )
        for target in range(basis.n_layers)
    ]


def _written_at(
    target: int, basis: Basis, active: ActiveUnits, like: Float[Tensor, "pos d_model"], norm: FrozenNorm | None
) -> Written:
    tables, rows, members, n_rows = [], [], [], 0
    for layer in range(target + 1):
        if target not in basis.targets(layer):
            continue
        here = active.of_layer(layer)
        features, row = active.feature[here].unique(return_inverse=True)
        offset = list(basis.targets(layer)).index(target)
        table = basis.decoder_rows(layer, features)[:, offset].to(like)
        tables.append(table)
        rows.append(row + n_rows)
        members.append(torch.arange(here.start, here.stop, device=row.device))
        n_rows += len(table)
    table, row, member = torch.cat(tables), torch.cat(rows), torch.cat(members)
    if norm is not None:  # what becomes of a row depends on the position: none is shared
        table = norm.linear_at(table[row], active.position[member].long())
        row = torch.arange(len(table), device=table.device)
    return Written(table, row, member, _summed(table, row, member, active, like))


def _writes_at(
    layer: int,
    recording: Recording,
    basis: Basis,
    active: ActiveUnits,
    columns: Int[Tensor, " active"],
    features: Written,
    layout: NodeLayout,
    flow: FrozenFlow | None,
) -> Writes:
    """What is written at the MLP output of one layer: features, the decoder's bias, errors, real MLPs kept."""
    n_real, output = layout.n_real, recording.mlp_outputs[layer]
    bias = _decoder_bias(layer, basis, output, None if flow is None else flow.write_norm(layer))
    bias = bias[n_real:] if len(bias) > 1 else bias
    constant = _add_skip(bias, basis.W_skip(layer), recording.mlp_inputs[layer, n_real:])

    # Recorded output − reconstruction, never the remainder of a sum of edges.
    at, scale = active.position[features.member].long(), active.activation[features.member].to(output)
    errors = output[n_real:] - (features.total[n_real:] + constant)

    shown = columns[features.member] >= 0
    if not bool(shown.all()):
        beyond = _summed(features.table, features.row[~shown], features.member[~shown], active, output)
        errors = errors + beyond[n_real:]

    positions = torch.arange(recording.n_positions, device=output.device)
    late, early = positions[n_real:], positions[:n_real]
    rest = torch.cat([bias, errors, output[:n_real]])
    own = torch.arange(len(rest), device=output.device)
    rest_row = torch.cat([own[: len(bias)].expand(len(late)), own[len(bias) :]])
    return sort_writes(
        torch.cat([features.table, rest]),
        torch.cat([features.row[shown], rest_row + len(features.table)]),
        torch.cat([scale[shown], torch.ones_like(rest_row).to(scale)]),
        torch.cat(
            [
                columns[features.member][shown],
                torch.full_like(late, layout.decoder_bias(layer)),
                layout.error(torch.full_like(late, layer), late),
                layout.real_mlp(torch.full_like(early, layer), early),
            ]
        ),
        torch.cat([at[shown], late, late, early]),
        recording.n_positions,
    )


def _decoder_bias(
    layer: int, basis: Basis, output: Float[Tensor, "pos d_model"], norm: FrozenNorm | None
) -> Float[Tensor, "#pos d_model"]:
    """What is written at a layer without any unit, its linear skip left out; what a norm behind the MLP adds to it."""
    bias = basis.b_dec[layer].to(output)[None]
    return bias if norm is None else norm.affine(bias.expand_as(output))


def dense_writes(
    rows: Float[Tensor, "write d_model"],
    columns: Int[Tensor, " write"],
    positions: Int[Tensor, " write"],
    n_positions: int,
) -> Writes:
    """Writes that are each written out, as a row of their own."""
    each = torch.arange(len(rows), device=rows.device)
    return sort_writes(rows, each, torch.ones_like(rows[:, 0]), columns, positions, n_positions)


def _summed(
    table: Float[Tensor, "unique d_model"],
    row: Int[Tensor, " write"],
    member: Int[Tensor, " write"],
    active: ActiveUnits,
    like: Float[Tensor, "pos d_model"],
) -> Float[Tensor, "pos d_model"]:
    """What these features write at each position, a piece at a time: the rows of all together may not fit."""
    total = torch.zeros_like(like)
    for part in torch.arange(len(row), device=row.device).split(WRITES_AT_ONCE):
        some = member[part]
        scale = active.activation[some].to(like)
        total.index_add_(0, active.position[some].long(), table[row[part]] * scale[:, None])
    return total


def _add_skip(bias: Tensor, W_skip: Tensor | None, mlp_input: Tensor) -> Tensor:
    return bias if W_skip is None else bias + mlp_input @ W_skip.to(bias).T
