"""Edges are products of writes and gradients, however the targets are grouped."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from silverstain.attribution import (
    EdgeRows,
    FrozenFlow,
    Sources,
    Targets,
    edges,
    edges_into,
    feature_targets,
    freeze,
    joined,
    logit_targets,
    sources_of,
)
from silverstain.attribution.blocks import blocks_of
from silverstain.attribution.budget import merge_columns
from silverstain.attribution.edges import compressed, most_edges
from silverstain.attribution.flow import EMBEDDING
from silverstain.attribution.joining import RowTable, join_rows
from silverstain.graphs import NodeLayout
from silverstain.models import record


def dense(rows: EdgeRows, width: int) -> Tensor:
    out = torch.zeros(len(rows), width, dtype=rows.values.dtype)
    row = torch.arange(len(rows)).repeat_interleave(rows.indptr.diff())
    out[row, rows.columns] = rows.values
    return out


def one_by_one(flow: FrozenFlow, sources: Sources, targets: Targets) -> Tensor:
    """The slow way: each row of each source is pushed up alone, to everything, and read by every target."""
    out = torch.zeros(len(targets), sources.n_columns, dtype=targets.vectors.dtype)
    out[:, sources.constant_column] = targets.constants
    for layer in range(EMBEDDING, flow.n_layers):
        writes = sources.at(layer)
        for position in range(flow.n_positions):
            here = slice(writes.bounds[position], writes.bounds[position + 1])
            reads = flow.forward(writes.rows(here), layer, position)
            everywhere = torch.cat([reads.mlp_inputs, reads.final[None]])
            for seen, column in zip(everywhere.unbind(1), writes.columns[here].tolist(), strict=True):
                out[:, column] += (seen[targets.layers, targets.positions] * targets.vectors).sum(-1)
    return out


def run_of(tiny, shape: str, kind: str) -> tuple[FrozenFlow, Sources, Targets]:
    model, dictionary = tiny.model(shape), tiny.dictionary(kind)
    recording = record(model, tiny.prompt)
    active = dictionary.encode(recording.mlp_inputs)
    layout = NodeLayout(n_features=len(active), n_layers=model.n_layers, n_positions=recording.n_positions, n_logits=2)
    flow = freeze(model, recording, dictionary)
    sources = sources_of(recording, dictionary, active, torch.arange(len(active)), layout)
    return (
        flow,
        sources,
        joined(
            feature_targets(recording, dictionary, active),
            logit_targets(model, [3, 7], [recording.n_positions - 1] * 2),
        ),
    )


@pytest.mark.parametrize("shape", ["llama", "qwen3"])
def test_edges_are_what_each_write_does_to_each_read(tiny, shape: str, kind: str):
    flow, sources, targets = run_of(tiny, shape, kind)
    found = dense(edges_into(flow, sources, targets), sources.n_columns)
    torch.testing.assert_close(found, one_by_one(flow, sources, targets), rtol=1e-9, atol=1e-10)


def test_order_and_size_of_groups_change_nothing(tiny, monkeypatch: pytest.MonkeyPatch):
    flow, sources, targets = run_of(tiny, "llama", "cross-layer-skip")
    whole = dense(edges_into(flow, sources, targets), sources.n_columns)
    order = torch.randperm(len(targets))
    monkeypatch.setattr(edges, "GRADIENT_BYTES", 1)  # every target alone
    done: list[int] = []
    shuffled = dense(edges_into(flow, sources, targets[order], on_progress=done.append), sources.n_columns)
    torch.testing.assert_close(shuffled, whole[order], rtol=1e-10, atol=1e-12)
    assert done == [1] * len(targets)


def test_columns_rise_within_a_row_and_no_edge_is_zero(tiny):
    flow, sources, targets = run_of(tiny, "llama", "cross-layer")
    rows = edges_into(flow, sources, targets)
    for start, stop in pairwise(rows.indptr.tolist()):
        assert (rows.columns[start:stop].diff() > 0).all()
    assert (rows.values != 0).all()


def test_no_targets_give_no_rows(tiny):
    flow, sources, targets = run_of(tiny, "llama", "per-layer")
    rows = edges_into(flow, sources, targets[torch.zeros(0, dtype=torch.long)])
    assert len(rows) == 0
    assert len(rows.values) == 0


def test_joining_pieces_puts_each_row_in_its_place():
    first = EdgeRows(indptr=torch.tensor([0, 2, 2]), columns=torch.tensor([0, 3]), values=torch.tensor([1.0, 2.0]))
    second = EdgeRows(indptr=torch.tensor([0, 1]), columns=torch.tensor([1]), values=torch.tensor([3.0]))
    rows = join_rows([first, second], [torch.tensor([2, 0]), torch.tensor([1])])
    assert dense(rows, 4).tolist() == [[0, 0, 0, 0], [0, 3, 0, 0], [1, 0, 0, 2]]


def test_merged_columns_add_up():
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(4, 6, generator=draw, dtype=torch.float64)
    values[1] = 0
    row, columns = values.nonzero(as_tuple=True)
    rows = EdgeRows(indptr=torch.tensor([0, 6, 6, 12, 18]), columns=columns, values=values[row, columns])
    names = torch.tensor([2, 0, 2, 1, 0, 3])
    expected = torch.zeros(4, 4, dtype=torch.float64).index_add_(1, names, values)
    torch.testing.assert_close(dense(merge_columns(rows, names), 4), expected)


@given(columns=st.lists(st.integers(0, 30), min_size=1, max_size=60), data=st.data())
def test_blocks_and_singles_are_all_writes_once(columns: list[int], data):
    some_sorted = [list(range(c, c + data.draw(st.integers(1, 9)))) for c in columns]  # runs, some of them long
    n_positions = data.draw(st.integers(1, 5))
    counts = [len(run) for run in some_sorted]
    ends = sorted(data.draw(st.integers(0, sum(counts))) for _ in range(n_positions - 1))
    bounds = (0, *ends, sum(counts))
    flat = torch.tensor([c for run in some_sorted for c in run])
    found = blocks_of(flat, bounds)
    if found is None:
        return
    seen = [(i, block.column + i - block.start) for at in found.at for block in at for i in range(*block[:2])]
    single = found.single[found.single >= 0].tolist()
    assert sorted([i for i, _ in seen] + single) == list(range(len(flat)))
    assert all(column == flat[i] for i, column in seen)
    for position, (at, some) in enumerate(zip(found.at, found.single.tolist(), strict=True)):
        here = range(bounds[position], bounds[position + 1])
        assert all(block.start in here and block.stop - 1 in here for block in at)
        assert all(i in here for i in some if i >= 0)


@given(seed=st.integers(0, 2**20), n_rows=st.integers(1, 12), n_columns=st.integers(1, 9), alike=st.booleans())
def test_compressed_rows_are_the_dense_ones_without_zeros(seed: int, n_rows: int, n_columns: int, alike: bool):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n_rows, n_columns, generator=generator)
    is_there = torch.rand(1 if alike else n_rows, n_columns, generator=generator) < 0.5
    whole = drawn * is_there
    cut = int(torch.randint(1, n_rows + 1, (), generator=generator))
    rows = compressed(whole, [0, cut, n_rows] if cut < n_rows else [0, n_rows])
    assert torch.equal(dense(rows, n_columns), whole)
    assert bool((rows.values != 0).all())


def test_no_target_has_more_edges_than_can_reach_it_and_most_have_all(tiny, kind: str):
    flow, sources, targets = run_of(tiny, "llama", kind)
    found = edges_into(flow, sources, targets).indptr.diff()
    room = most_edges(sources, targets)
    assert bool((found <= room).all())
    assert bool((found == room).any())


@given(seed=st.integers(0, 2**20), n_rows=st.integers(1, 9), width=st.integers(1, 6), spare=st.integers(0, 2))
def test_rows_put_in_any_order_come_out_in_their_places(seed: int, n_rows: int, width: int, spare: int):
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randn(n_rows, width, generator=generator) * (torch.rand(n_rows, width, generator=generator) < 0.6)
    table = RowTable((whole != 0).sum(1) + spare, whole)
    for places in torch.randperm(n_rows, generator=generator).split(3):
        table.put(places, compressed(whole[places], [0, len(places)]))
    assert torch.equal(dense(table.rows(), width), whole)


def test_a_row_without_room_is_refused():
    row = compressed(torch.ones(1, 3), [0, 1])
    with pytest.raises(ValueError, match="more edges than can reach"):
        RowTable(torch.tensor([2]), row.values).put(torch.tensor([0]), row)
