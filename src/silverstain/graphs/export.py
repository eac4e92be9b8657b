"""The JSON that circuit-tracer's viewer and Neuronpedia read, with unique node ids.

Bias nodes are left out: neither format has them. Neuronpedia cannot show a model of a single layer.
"""

import json
import re
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import cumulative_influence
from silverstain.graphs.kinds import ATTENTION, BIAS, ERROR, FEATURE, LOGIT, NODE_KINDS, TOKEN
from silverstain.graphs.naming import attention_in_words
from silverstain.graphs.scores import WHOLE, Scores, scores
from silverstain.graphs.story import Story
from silverstain.storage import write_text_whole
from silverstain.version import __version__

FEATURE_TYPES = {
    FEATURE: "cross layer transcoder",  # also what the viewers expect for per-layer dictionaries
    ATTENTION: "attention",  # of contrasts; no other tool has it
    ERROR: "mlp reconstruction error",
    TOKEN: "embedding",
    LOGIT: "logit",
}


def write_graph_json(
    graph: GraphArrays,
    path: str | Path,
    *,
    slug: str | None = None,
    scan: str | None = None,
    story: Story | None = None,
) -> None:
    """Write `graph_json` to a file, whole or not at all; the slug defaults to the file's name."""
    path = Path(path)
    content = graph_json(graph, slug=slug or slug_of(path.stem), scan=scan, story=story)
    write_text_whole(path, json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n")


def graph_json(graph: GraphArrays, *, slug: str, scan: str | None = None, story: Story | None = None) -> dict[str, Any]:
    """The graph as one JSON object: the pruned part if it is pruned, else all of it.

    `scan` tells a viewer where features live: a Neuronpedia model id, or for circuit-tracer a Hugging Face repository
    or a folder; by default the dictionary's name. A story gives labels, pins and groups.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", slug):
        raise UsageError(f"the slug {slug!r} has other characters than letters, digits, '_', '.', '-'; choose another")
    story = story or Story()
    edges = graph.kept_edges().clone()
    edges &= graph.nodes.kind[graph.indices] != BIAS
    shown = _shown(graph, edges)
    ids = graph.nodes.ids()
    nodes = _nodes(graph, ids, story)
    links = zip(graph.indices[edges].tolist(), graph.targets[edges].tolist(), graph.values[edges].tolist(), strict=True)
    shown_ids = {ids[i] for i in shown}
    return {
        "metadata": _metadata(graph, slug, scan),
        "qParams": {
            "pinnedIds": [pin for pin in story.pins if pin in shown_ids],
            "supernodes": [[g.label, *(m for m in g.members if m in shown_ids)] for g in story.groups],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [nodes[i] for i in shown],
        "links": [{"source": ids[s], "target": ids[t], "weight": w} for s, t, w in links],
    }


def _shown(graph: GraphArrays, edges: Any) -> list[int]:
    """Nodes with a link; tokens and logits in any case."""
    shown = graph.nodes.is_kind("token", "logit")
    shown[graph.indices[edges]] = True
    shown[graph.targets[edges]] = True
    return shown.nonzero().flatten().tolist()


def _metadata(graph: GraphArrays, slug: str, scan: str | None) -> dict[str, Any]:
    meta, found = graph.meta, scores(graph)
    pruning = meta.get("pruning", {}) if graph.node_mask is not None else {}
    model, dictionary = (dict(meta.get(key) or {}) for key in ("model", "dictionary"))
    return {
        "slug": slug,
        "scan": scan or slug_of(str(dictionary.get("name") or model.get("name") or "silverstain")),
        "transcoder_list": [],
        "prompt_tokens": list(meta.get("tokens", [])),
        "prompt": meta.get("prompt", ""),
        "node_threshold": pruning.get("node_share", 1.0),
        "schema_version": 1,
        "n_layers": graph.n_layers,
        **_score_keys(found),
        "info": {
            "generator": {"name": "silverstain", "version": __version__},
            "model": model,
            "dictionary": dictionary,
            **{key: meta[key] for key in ("rest", "contrast") if meta.get(key)},
        },
        "generation_settings": dict(meta.get("settings", {})),
        "pruning_settings": {
            "node_threshold": pruning.get("node_share", 1.0),
            "edge_threshold": pruning.get("edge_share", 1.0),
        },
    }


def _score_keys(found: Scores) -> dict[str, float]:
    """The scores of the whole graph, as far as they are known: nobody is told those of a part for them."""
    named = {"replacement_score": found.replacement, "completeness_score": found.completeness_all_rows}
    # the second is what these viewers mean by the word
    return {name: figure for name, figure in named.items() if found.of == WHOLE and figure == figure}


def _nodes(graph: GraphArrays, ids: list[str], story: Story) -> list[dict[str, Any]]:
    """One object a node, of every kind but bias in the form the viewers read."""
    table, labels, answers = graph.nodes, story.labels_in(graph.nodes), _answers(graph)
    columns = (table.kind, table.layer, table.position, table.feature, table.token, table.activation)
    rows = zip(*(column.tolist() for column in columns), cumulative_influence(graph).tolist(), strict=True)
    first_logit = table.span("logit").start
    nodes = []
    for i, (kind, layer, position, feature, token, activation, influence) in enumerate(rows):
        is_logit = kind == LOGIT
        label = answers[i - first_logit] if is_logit else labels[i]
        nodes.append(
            {
                "node_id": ids[i],
                "jsNodeId": ids[i],
                "feature": _feature_number(kind, layer, position, feature, token, i - first_logit),
                "layer": "E" if kind == TOKEN else str(layer + 1 if is_logit else layer),
                "ctx_idx": position,
                "feature_type": FEATURE_TYPES.get(kind, NODE_KINDS[kind]),
                "clerp": label or _default_label(graph, i, kind, layer, position, token),
                "token_prob": activation if is_logit else 0.0,
                "is_target_logit": i == first_logit,
                "run_idx": 0,
                "reverse_ctx_idx": 0,
                "influence": None if is_logit else influence,
                "activation": activation if kind in (FEATURE, ATTENTION) else None,
            }
        )
    return nodes


def _feature_number(kind: int, layer: int, position: int, feature: int, token: int, rank: int) -> int:
    """What these files call `feature`: for a feature the Cantor pair of layer and index."""
    if kind == FEATURE:
        return (layer + feature) * (layer + feature + 1) // 2 + feature
    if kind == TOKEN:
        return position
    return -1 if kind != LOGIT else token if token >= 0 else rank


def _default_label(graph: GraphArrays, node: int, kind: int, layer: int, position: int, token: int) -> str:
    tokens = graph.meta.get("tokens", [])
    if kind == TOKEN:
        return f'Emb: "{tokens[position] if position < len(tokens) else token}"'
    if kind == ATTENTION:
        return attention_in_words(graph, node)
    what = "Rest" if graph.meta.get("rest") else "Err"
    return f"{what}: layer {layer}" if kind == ERROR else ""


def _answers(graph: GraphArrays) -> list[str]:
    """The viewers read the target between the quotes and the probability after `(p=`, and fail without them, so a
    target that is no token is given probability 1."""
    probabilities = (1.0 if known is None else known for known in graph.target_probabilities)
    named = zip(graph.target_names, probabilities, strict=True)
    return [f'Output "{name}" (p={probability:.3f})' for name, probability in named]


def slug_of(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "graph"
