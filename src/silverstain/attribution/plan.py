"""What a trace will take, before it is begun: nodes, operations, memory, time."""

from dataclasses import dataclass
from time import perf_counter

import torch

from silverstain.attribution.budget import SHARES_BYTES
from silverstain.attribution.edges import GRADIENT_BYTES
from silverstain.attribution.room import bytes_of_rows
from silverstain.attribution.run import Run

REACHED = 0.6
"""Share of the rate of one large product that a trace reaches at width 768: 0.35 to 0.76, and a tenth at width 128
(benchmarks/results/circuit-tracer.json)."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Attributes:
    tokens: Positions of the prompt.
    active: Features that are active.
    expanded: Features that get a row.
    nodes, rows: Of the graph.
    operations: Floating-point operations of the sweeps, a product and a sum counted as two.
    bytes: Memory above the loaded model, at most.
    seconds: At the rate that this machine's own matrix product has now.
    """

    tokens: int
    active: int
    expanded: int
    nodes: int
    rows: int
    operations: int
    bytes: int
    seconds: float


def plan_of(run: Run) -> Plan:
    """The plan of a run; where features are chosen by influence, each is counted as an average one, near the end."""
    n_active, expanded = len(run.active), run.expanded
    layout, all_columns = run.layout(expanded), run.layout(n_active).size
    n_rows = expanded + len(run.roots)
    is_whole = expanded == n_active
    if is_whole:
        each = _operations(run, run.active.layer.double(), run.active.position.double()).sum()
    else:
        last = torch.full((1,), run.recorded.recording.n_positions - 1.0, dtype=torch.float64)
        each = expanded * _operations(run, run.active.layer.double().mean()[None].cpu(), last).sum()
    top = torch.tensor([float(run.recorded.model.n_layers)], dtype=torch.float64)
    end = torch.tensor([run.recorded.recording.n_positions - 1.0], dtype=torch.float64)
    operations = float(each) + len(run.roots) * float(_operations(run, top, end))
    keeps = run.keeps_rows(n_rows)
    if not is_whole and not keeps:
        operations *= 2
    return Plan(
        tokens=run.recorded.recording.n_positions,
        active=n_active,
        expanded=expanded,
        nodes=layout.size,
        rows=n_rows,
        operations=round(operations),
        bytes=_bytes(run, n_rows, layout.size, all_columns, is_whole=is_whole, keeps=keeps),
        seconds=operations / (REACHED * rate_of(run.recorded.model.device, run.recorded.recording.embedding.dtype)),
    )


def _operations(run: Run, layers: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Of the sweep of each target: two products with weights and one with the pattern for each attention crossed but
    the first, and a product with everything that writes below."""
    model, n = run.recorded.model, positions.cpu() + 1
    W_O, W_V = model.W_O(0), model.W_V(0)
    n_heads, d_model, d_head = W_O.shape
    crossed = (layers.cpu().clamp(max=model.n_layers - 1) - 1).clamp(min=0)
    weights = 2 * (W_O.numel() + W_V.numel())
    attention = crossed * (n * weights + n_heads * d_head * n * n)
    written = len(run.active) / model.n_layers * (layers.cpu() + 1) * n / run.recorded.recording.n_positions
    reach = (run.recorded.model.n_layers + 1) / 2 if run.recorded.basis.is_cross_layer else 1
    return attention + 2 * d_model * written * reach


def _bytes(run: Run, n_rows: int, n_nodes: int, all_columns: int, *, is_whole: bool, keeps: bool) -> int:
    itemsize = run.recorded.recording.embedding.element_size()
    n_writes = len(run.active) * ((run.recorded.model.n_layers + 1) / 2 if run.recorded.basis.is_cross_layer else 1)
    total = run.recorded.recording.patterns.nbytes + GRADIENT_BYTES
    total += n_writes * 24 + bytes_of_rows(n_rows, n_nodes, itemsize)
    if not is_whole:
        whole = n_rows * all_columns * 8
        total += whole if keeps else min(SHARES_BYTES, whole)
    return round(total)


def rate_of(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """Operations a second of this machine's own matrix product, now."""
    left = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(3):
        start = perf_counter()
        product = left @ left
        float(product[0, 0])  # waits for a GPU
        best = min(best, perf_counter() - start)
    return 2 * side**3 / best
