"""Random graphs, circuit-tracer's golden ones, and the slow dense arithmetic they are tested against."""

import itertools
import re
from types import SimpleNamespace

import pytest
import torch
from hypothesis import settings
from safetensors.torch import load_file
from tests.golden.cases import ALL, cases

from silverstain.graphs import Graph, NodeLayout, node_table

# No deadline: shape checks and a busy machine make times meaningless. Few examples: each pays for those checks.
settings.register_profile("graphs", deadline=None, max_examples=12)
settings.load_profile("graphs")


def random_graph(
    seed: int,
    *,
    n_layers: int = 3,
    n_positions: int = 4,
    n_features: int = 9,
    n_logits: int = 2,
    n_real: int = 1,
    n_attention: int = 0,
) -> Graph:
    """A graph with float64 edges between random features, half of the possible edges present; every row adds up.

    With `n_attention` it has so many nodes of attention, of two heads, and the rest of attention at half of the places.
    """
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(n_features, 2, generator=generator)
    layer = (places[:, 0] * n_layers).long()
    position = n_real + (places[:, 1] * (n_positions - n_real)).long()
    order = (layer * n_positions + position).argsort(stable=True)
    attention = random_attention(seed, n_attention, n_layers, n_positions)
    layout = NodeLayout(
        n_features=n_features,
        n_layers=n_layers,
        n_positions=n_positions,
        n_logits=n_logits,
        n_real=n_real,
        n_attention=len(attention["attention_layer"]) if attention else 0,
    )
    nodes = node_table(
        layout,
        **attention,
        layer=layer[order],
        position=position[order],
        feature=torch.arange(n_features) + 5,
        activation=torch.rand(n_features, generator=generator, dtype=torch.float64) + 0.1,
        token_ids=torch.arange(n_positions) + 100,
        target_ids=torch.arange(n_logits) + 50,
        target_probabilities=torch.rand(n_logits, generator=generator) / n_logits,
        target_position=n_positions - 1,
    )
    row_nodes = (nodes.is_unit | nodes.is_kind("logit")).nonzero().flatten()
    dense = torch.randn(len(row_nodes), layout.size, generator=generator, dtype=torch.float64)
    dense *= nodes.depth[None, :] < nodes.depth[row_nodes, None]
    dense *= torch.rand(dense.shape, generator=generator) < 0.5
    meta = {
        "prompt": "a b c",
        "tokens": [f"t{i}" for i in range(n_positions)],
        "token_ids": list(range(100, 100 + n_positions)),
        "targets": [{"token": f" x{k}", "id": 50 + k, "probability": 0.5} for k in range(n_logits)],
        "model": {"name": "toy/model", "hash": "abc"},
        "dictionary": {"name": "toy/dictionary", "hash": "def"},
        "settings": {"max_features": None},
    }
    return Graph.from_rows(nodes=nodes, row_nodes=row_nodes, rows=dense, values_of_targets=dense.sum(1), meta=meta)


def random_attention(seed: int, n: int, n_layers: int, n_positions: int) -> dict[str, torch.Tensor]:
    """Columns of attention: n random pairs of head and key, and the rest at half of the places."""
    if not n:
        return {}
    places = torch.tensor(list(itertools.product(range(n_layers), range(n_positions))))
    pairs = torch.tensor([(*at, head, key) for at in places.tolist() for head in range(2) for key in range(at[1] + 1)])
    generator = torch.Generator().manual_seed(seed)
    chosen = pairs[torch.randperm(len(pairs), generator=generator)[:n]]
    rests = places[torch.rand(len(places), generator=generator) < 0.5]
    rests = torch.cat([rests, torch.full_like(rests, -1)], dim=1)
    rows = torch.tensor(sorted(torch.cat([chosen, rests]).tolist()))
    change = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    names = ("layer", "position", "head", "key")
    columns: dict[str, torch.Tensor] = dict(zip(names, rows.unbind(1), strict=True))
    columns["activation"] = torch.where(columns["head"] < 0, 0.0, change)
    return {f"attention_{name}": column for name, column in columns.items()}


@pytest.fixture(scope="session")
def make_graph():
    return random_graph


@pytest.fixture(scope="session", params=cases(*ALL))
def golden(request) -> tuple[Graph, torch.Tensor]:
    """A golden graph as ours, and its adjacency in our order of nodes, which puts (empty) biases before logits."""
    data = load_file(request.param / "graph.safetensors")
    layer, position, feature = data["active_features"][data["selected_features"]].unbind(1)
    n_layers, n_positions = data["error_vectors"].shape[:2]
    layout = NodeLayout(
        n_features=len(layer),
        n_layers=n_layers,
        n_positions=n_positions,
        n_logits=len(data["logit_token_ids"]),
        n_real=0,
    )
    nodes = node_table(
        layout,
        layer=layer,
        position=position,
        feature=feature,
        activation=data["activation_values"][data["selected_features"]],
        token_ids=data["input_tokens"],
        target_ids=data["logit_token_ids"],
        target_probabilities=data["logit_probabilities"],
        target_position=n_positions - 1,
    )
    ours = torch.cat([torch.arange(layout.tokens.stop), torch.arange(layout.logits.start, layout.size)])
    dense = torch.zeros(layout.size, layout.size, dtype=torch.float64)
    dense[ours[:, None], ours] = data["adjacency"].double()
    row_nodes = torch.cat([ours[: layout.n_features], ours[-layout.n_logits :]])
    rows = dense[row_nodes].float()
    graph = Graph.from_rows(nodes=nodes, row_nodes=row_nodes, rows=rows, values_of_targets=rows.sum(1))
    return graph, dense


def dense_edges(graph: Graph) -> torch.Tensor:
    """All edges as a matrix [target, source], one loop step an edge."""
    dense = torch.zeros(graph.n_nodes, graph.n_nodes, dtype=torch.float64)
    for row, target in enumerate(graph.row_nodes.tolist()):
        for edge in range(int(graph.indptr[row]), int(graph.indptr[row + 1])):
            dense[target, graph.indices[edge]] += graph.values[edge].double()
    return dense


def dense_shares(graph: Graph, dense: torch.Tensor) -> torch.Tensor:
    size = dense.abs()
    size[:, graph.nodes.is_kind("bias")] = 0
    return size / size.sum(1, keepdim=True).clamp(min=1e-10)


def dense_influence(shares: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    """w(A + A² + …), product by product."""
    total, step = torch.zeros_like(goal), goal
    for _ in range(len(goal)):
        step = step @ shares
        total = total + step
        if not step.any():
            break
    return total


def dense_goal(graph: Graph) -> torch.Tensor:
    goal = torch.where(graph.nodes.is_kind("logit"), graph.nodes.activation.double(), 0.0)
    return goal / goal.sum()


def rests(graph: Graph) -> torch.Tensor:
    """Errors and the rest of attention, told by their ids."""
    return torch.tensor([re.fullmatch(r"\d+_(error|attn)_\d+", node_id) is not None for node_id in graph.nodes.ids()])


def dense_scores(graph: Graph, dense: torch.Tensor) -> tuple[float, float]:
    """Replacement and completeness as circuit-tracer computes them."""
    shares, goal = dense_shares(graph, dense), dense_goal(graph)
    reached = dense_influence(shares, goal)
    tokens, errors = reached[graph.nodes.is_kind("token")].sum(), reached[rests(graph)].sum()
    explained = 1 - shares[:, rests(graph)].sum(1)
    weight = reached + goal
    return float(tokens / (tokens + errors)), float((explained * weight).sum() / weight.sum())


def dense_threshold(scores: torch.Tensor, share: float) -> torch.Tensor:
    ranked = scores.flatten().sort(descending=True).values
    sums = ranked.cumsum(0) / ranked.sum()
    return ranked[min(int(torch.searchsorted(sums, share)), len(ranked) - 1)]


def dense_prune(graph: Graph, dense: torch.Tensor, node_share: float, edge_share: float) -> tuple[torch.Tensor, ...]:
    """Node mask and edge matrix mask as circuit-tracer computes them."""
    goal = dense_goal(graph)
    reached = dense_influence(dense_shares(graph, dense), goal)
    always = graph.nodes.is_kind("token", "logit")
    nodes = (reached >= dense_threshold(reached, node_share)) | always
    left = dense * nodes[:, None] * nodes[None, :]
    shares = dense_shares(graph, left)
    score = shares * (dense_influence(shares, goal) + goal)[:, None]
    edges = score >= dense_threshold(score, edge_share)
    needs_out = graph.nodes.is_kind("feature", "attention", "error")
    needs_in = graph.nodes.is_kind("feature", "attention") & ~rests(graph)
    while True:
        kept = nodes & (~needs_out | edges.any(0)) & (~needs_in | edges.any(1))
        edges = edges & kept[:, None] & kept[None, :]
        if bool((kept == nodes).all()):
            return nodes, edges
        nodes = kept


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    """The slow and obvious way to every figure."""
    return SimpleNamespace(
        edges=dense_edges,
        shares=dense_shares,
        influence=dense_influence,
        goal=dense_goal,
        scores=dense_scores,
        prune=dense_prune,
    )
