"""The one JSON document that the explorer's page is given: a graph, its story, and what is known of its features.

Columns of nodes and edges are typed arrays in base64, which a browser maps without parsing numbers; the rest is plain
JSON. All text that the page shows beside the story is fit to be shown (`silverstain.printable`); the story is passed on
as its file has it, so that saving it loses nothing, and the page makes its labels fit itself.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from silverstain.features.card_files import AnyCards
from silverstain.features.card_table import CardTable
from silverstain.graphs.contrast import contrast_of
from silverstain.graphs.graph import Graph
from silverstain.graphs.influence import edge_shares
from silverstain.graphs.kinds import ATTENTION, BIAS, ERROR, FEATURE, LOGIT, TOKEN
from silverstain.graphs.naming import attention_in_words, unit_name
from silverstain.graphs.scores import Scores, scores
from silverstain.graphs.story import Story
from silverstain.graphs.trust import trust_in
from silverstain.pieces import piece, word, word_spans
from silverstain.printable import printable
from silverstain.version import __version__

FORMAT = "silverstain.page/1"
LONGEST_TEXT = 200
LONGEST_PROMPT = 20_000
MOST_CARDS = 2_000
"""Of the features with the most influence."""
MOST_EXAMPLES = 5
MOST_EDGES = 1_200_000
"""Of a larger graph the page is given its strongest edges, and of each target how much the others make together."""
_TYPES = {
    torch.int8: "Int8Array",
    torch.int32: "Int32Array",
    torch.bool: "Uint8Array",
    torch.float32: "Float32Array",
    torch.float64: "Float64Array",
}


def page_document(graph: Graph, story: Story | None = None, cards: AnyCards | None = None, *, name: str = "") -> dict:
    """The document of a graph. `name` is what the page calls the file it came from.

    Numbers that are not finite become 0 among edges and activations, and null elsewhere.
    """
    meta, nodes, whole = graph.meta, graph.nodes, graph
    found = scores(graph)
    graph, left_out = strongest_edges(graph)
    is_rest = bool(meta.get("rest"))
    tokens = _tokens(graph)
    return {
        "format": FORMAT,
        "version": __version__,
        "name": printable(name, LONGEST_TEXT),
        "hash": graph.hash,
        "prompt": printable(str(meta.get("prompt") or ""), LONGEST_PROMPT),
        "tokens": [piece(token) for token in tokens],
        "words": [[span.start, span.stop, word(tokens[span.start : span.stop])] for span in word_spans(tokens)],
        "targets": [
            {"name": printable(target, LONGEST_TEXT), "probability": _finite(probability)}
            for target, probability in zip(graph.target_names, graph.target_probabilities, strict=True)
        ],
        **{what: printable(str((meta.get(what) or {}).get("name") or ""), 80) for what in ("model", "dictionary")},
        "n_layers": graph.n_layers,
        "is_rest": is_rest,
        "contrast": _contrast(graph),
        "scores": _plain(found),
        "trust": asdict(trust_in(found, has_edges=graph.n_edges > 0, is_rest=is_rest)),
        "exactness": _finite((meta.get("exactness") or {}).get("max_relative_error")),
        "pruning": meta.get("pruning"),
        "nodes": {
            "ids": nodes.ids(),
            "names": _names(graph, tokens),
            **{
                column: _packed(values)
                for column, values in nodes.columns().items()
                if column != "influence" and not (column == "key" and not bool((nodes.kind == ATTENTION).any()))
            },
            **({} if graph.node_mask is None else {"kept": _packed(graph.node_mask)}),
        },
        "edges": {
            "row_nodes": _packed(graph.row_nodes.int()),
            "indptr": _packed(graph.indptr.int()),
            "indices": _packed(graph.indices),
            "values": _packed(graph.values),
            "values_of_targets": _packed(graph.values_of_targets),
            **({} if left_out is None else {"left_out": _packed(left_out), "n_whole": whole.n_edges}),
            **({} if graph.edge_mask is None else {"kept": _packed(graph.edge_mask)}),
        },
        "story": (story or Story(graph_hash=graph.hash)).to_json(),
        "cards": {} if cards is None else _cards(graph, cards),
    }


def strongest_edges(graph: Graph, most: int | None = None) -> tuple[Graph, Tensor | None]:
    """The graph with no more edges than that, those that make most of their target, and Σ |value| of each target's
    other edges (None where there are none): so shares, and the influence along what is kept, stay what they are."""
    most = MOST_EDGES if most is None else most
    if graph.n_edges <= most:
        return graph, None
    shares = edge_shares(graph)
    least = shares.kthvalue(graph.n_edges - most).values
    kept = shares > least
    rows = graph.edge_rows
    counted = graph.nodes.kind[graph.indices] != BIAS
    lost = torch.zeros(len(graph.row_nodes), dtype=torch.float64)
    gone = ~kept & counted
    lost.index_add_(0, rows[gone], graph.values[gone].abs().double())
    ends = torch.zeros(len(graph.row_nodes) + 1, dtype=graph.indptr.dtype)
    ends[1:] = torch.bincount(rows[kept], minlength=len(graph.row_nodes)).cumsum(0)
    less = replace(
        graph, indptr=ends, indices=graph.indices[kept], values=graph.values[kept],
        edge_mask=None if graph.edge_mask is None else graph.edge_mask[kept],
    )  # fmt: skip
    return less, lost


def json_in_html(document: Mapping[str, Any]) -> str:
    """JSON that may stand within a script element: no `<`, so nothing in it ends the element or begins another."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(column: Tensor) -> dict[str, str]:
    if column.dtype in (torch.bfloat16, torch.float16):
        column = column.float()
    if column.is_floating_point():
        column = column.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    array = np.ascontiguousarray(column.detach().cpu().numpy())
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"type": _TYPES[column.dtype], "data": base64.b64encode(little.tobytes()).decode("ascii")}


def _tokens(graph: Graph) -> list[str]:
    """Of the prompt; what the graph does not tell is called by its position."""
    told = [printable(str(token), LONGEST_TEXT) for token in graph.meta.get("tokens") or ()]
    highest = int(graph.nodes.position.max()) + 1 if len(graph.nodes) else 0
    return told + [f"@{position}" for position in range(len(told), highest)]


def _names(graph: Graph, tokens: list[str]) -> list[str]:
    """What each node is called where nobody has given it a label."""
    nodes = graph.nodes
    rest = "rest" if graph.meta.get("rest") else "error"
    targets = iter(graph.target_names)
    columns = zip(nodes.kind.tolist(), nodes.layer.tolist(), nodes.position.tolist(), strict=True)
    names = []
    for node, (kind, layer, position) in enumerate(columns):
        if kind == FEATURE:
            name = unit_name(nodes, node)
        elif kind == ATTENTION:
            name = attention_in_words(graph, node)
        elif kind == ERROR:
            name = f"{rest} L{layer}@{position}"
        elif kind == TOKEN:
            name = piece(tokens[position])
        elif kind == LOGIT:
            name = next(targets)
        else:
            name = "bias" + ("" if layer < 0 else f" L{layer}") + ("" if position < 0 else f"@{position}")
        names.append(printable(name, LONGEST_TEXT))
    return names


def _contrast(graph: Graph) -> dict[str, Any] | None:
    said = contrast_of(graph.meta, graph.target_names)
    if said is None:
        return None
    sides = [
        {"name": side.name, "answer": side.answer, "pieces": [[one.text, one.is_changed] for one in side.pieces]}
        for side in said.sides
    ]
    return {"explained": said.explained, "sides": sides}


def _cards(graph: Graph, cards: AnyCards) -> dict[str, Any]:
    """The cards of the graph's features by `layer_feature`, of those with the most influence."""
    nodes, reached = graph.nodes, graph.influence()
    features = (nodes.kind == FEATURE).nonzero().flatten()
    ranked = features[reached[features].argsort(descending=True)].tolist()
    found: dict[str, Any] = {}
    for node in ranked:
        layer, feature = int(nodes.layer[node]), int(nodes.feature[node])
        if len(found) >= MOST_CARDS:
            break
        if f"{layer}_{feature}" in found or layer >= cards.n_layers or feature >= cards.n_features:
            continue
        card = cards.card(layer, feature)
        if card is not None:
            found[f"{layer}_{feature}"] = _card(card.to_json()) | _histogram(cards, layer, feature)
    return found


def _histogram(cards: AnyCards, layer: int, feature: int) -> dict[str, Any]:
    """How often the feature is how active, where the cards have it; those of the compact file have none."""
    known = cards.histogram(layer, feature) if isinstance(cards, CardTable) else None
    if known is None:
        return {}
    bounds, counts = known
    return {"histogram": {"bounds": [_rounded(bound) for bound in bounds], "counts": counts}}


def _card(card: dict[str, Any]) -> dict[str, Any]:
    numbers = ("precision", "recall", "density", "mean_activation", "max_activation")
    return {
        "label": printable(card["label"], LONGEST_TEXT),
        "kind": printable(card["kind"], 80),
        **{name: _rounded(card[name]) for name in numbers},
        **{
            side: [[printable(token, 80), _rounded(effect)] for token, effect in card[side][:8]]
            for side in ("promotes", "suppresses")
        },
        "examples": [
            {
                "tokens": [printable(token, 80) for token in one["tokens"]],
                "index": one["index"],
                "activation": _rounded(one["activation"]),
            }
            for one in card["examples"][:MOST_EXAMPLES]
        ],
    }


def _plain(found: Scores) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str) else _finite(value)
        for name, value in zip(Scores._fields, found, strict=True)
    }


def _finite(number: Any) -> float | None:
    return float(number) if isinstance(number, int | float) and math.isfinite(number) else None


def _rounded(number: float) -> float | None:
    """To four digits, which is more than a card shows."""
    known = _finite(number)
    return None if known is None else float(f"{known:.4g}")
