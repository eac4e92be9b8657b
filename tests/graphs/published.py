"""Graphs of our own making in the JSON that other tools publish, and the ways in which those differ."""

import random
from collections.abc import Collection
from typing import Any

FEATURE, ERROR, TOKEN, LOGIT = "cross layer transcoder", "mlp reconstruction error", "embedding", "logit"
QUIRKS = (
    "error ids collide",  # circuit-tracer: the error of layer l is called as feature l of layer 0
    "feature is null",  # for all but features
    "ids of another tool",
    "answers at -1",
    "former numbers",  # 100,000 x layer + index
    "per layer",
    "saved as text",  # pins and groups, by circuit-tracer's page
    "no prompt_tokens",
    "layers are numbers",
    "no errors",
    "no activations",
    "nulls",
    "a list of scans",
    "scores",
    "groups overlap",
    "odd tokens",
    "keys of later versions",
    "no qParams",
    "direction",
)


def pair(layer: int, index: int) -> int:
    return (layer + index) * (layer + index + 1) // 2 + index


def published(seed: int, quirks: Collection[str] = (), *, n_layers: int = 4, n_features: int = 12) -> dict[str, Any]:
    """What a tool has written after pruning: a random graph with words, features, errors and answers."""
    draw = random.Random(seed)
    tokens = (
        ["<bos>", " a", "\n", "b", " c"] if "odd tokens" not in quirks else ["<bos>", "\x1b[2J", "\u202e", "é", "⏎"]
    )
    last = len(tokens) - 1
    other = "ids of another tool" in quirks
    nodes: list[dict[str, Any]] = []

    def add(kind: str, layer: int, at: int, number: int | None, node_id: str, label: str, **more: Any) -> str:
        shown: int | str = "E" if kind == TOKEN else layer
        if kind == LOGIT:
            shown = "-1" if "answers at -1" in quirks else n_layers + 1
        nodes.append(
            {
                "node_id": node_id, "jsNodeId": f"{node_id}-0", "ctx_idx": at, "feature_type": kind, "clerp": label,
                "feature": None if "feature is null" in quirks and kind in (TOKEN, LOGIT, ERROR) else number,
                "layer": shown if "layers are numbers" in quirks and shown != "E" else str(shown),
                "influence": None if "nulls" in quirks else 0.5, "activation": None, "token_prob": 0.0,
                "is_target_logit": kind == LOGIT, "run_idx": 0, "reverse_ctx_idx": 0, **more,
            }
        )  # fmt: skip
        return node_id

    words = [
        add(TOKEN, -1, at, at, f"input_{at}" if other else f"E_{100 + at}_{at}", f'Emb: "{token}"')
        for at, token in enumerate(tokens)
    ]
    places = sorted(
        draw.sample([(x, at, i) for x in range(n_layers) for at in range(1, last + 1) for i in range(9)], n_features)
    )
    features = []
    for layer, at, index in places:
        number = 100_000 * layer + index if "former numbers" in quirks else pair(layer, index)
        node_id = f"intermediate_{at}_{layer}_{index}" if other else f"{layer}_{index}_{at}"
        strength = draw.uniform(0.1, 9)
        active = {} if "no activations" in quirks else {"activation": strength}
        name = "per-layer transcoder" if "per layer" in quirks else FEATURE
        features.append(
            (add(name, layer, at, number, node_id, draw.choice(["", "capital", "two\nlines"]), **active), layer)
        )
    errors = []
    if "no errors" not in quirks:
        for layer, at in sorted({(x, at) for x, at, _ in places if draw.random() < 0.5}):
            collides = "error ids collide" in quirks and not other
            node_id = f"0_{layer}_{at}" if collides else f"{layer}_error_{at}"
            errors.append((add(ERROR, layer, at, -1, node_id, ""), layer))
    answers = [
        add(LOGIT, n_layers, last, 50 + k, f"output_{last}_{k}" if other else f"{n_layers + 1}_{50 + k}_{last}",
            f'Output " x{k}" (p={p:.3f})', token_prob=p)
        for k, p in enumerate((0.5, 0.25))
    ]  # fmt: skip
    if "direction" in quirks:
        answers.append(
            add(
                LOGIT,
                n_layers,
                last,
                9,
                f"{n_layers + 1}_direction2_{last}",
                'Output "a - b" (p=1.000)',
                token_prob=1.0,
            )
        )

    sources = [*((word, -1) for word in words), *features, *errors]
    links = [
        {"source": source, "target": target, "weight": draw.gauss(0, 1)}
        for target, above in [*features, *((answer, n_layers) for answer in answers)]
        for source, layer in sources
        if layer < above and source != target and draw.random() < 0.5
    ]
    metadata: dict[str, Any] = {
        "slug": "s", "scan": ["a", "b"] if "a list of scans" in quirks else "toy-model", "transcoder_list": [],
        "prompt_tokens": tokens, "prompt": "".join(tokens), "node_threshold": 0.8, "schema_version": 1,
    }  # fmt: skip
    if "answers at -1" in quirks:
        metadata["n_layers"] = n_layers
    if "scores" in quirks:
        metadata |= {"replacement_score": 0.41, "completeness_score": 0.72}
    if "nulls" in quirks:
        metadata |= {"node_threshold": None, "info": None, "prompt": None, "feature_details": None}
    if "keys of later versions" in quirks:
        metadata |= {"info": {"generator": {"name": "x"}, "creator_name": "y"}, "generation_settings": {"x": 1}}
        nodes[0] |= {"qk_tracing_results": {}, "vis_link": "https://", "probe_location_idx": 0}
    if "no prompt_tokens" in quirks:
        del metadata["prompt_tokens"]
    chosen = [features[0][0], features[-1][0]]
    groups = [["one", *chosen], ["gone", "99_9_9"]]
    if "groups overlap" in quirks:
        groups += [["two", chosen[0], answers[0], chosen[0]]]
    asked: dict[str, Any] = {
        "pinnedIds": chosen,
        "supernodes": groups,
        "linkType": "both",
        "clickedId": "",
        "sg_pos": "",
    }
    if "saved as text" in quirks:
        import json

        asked |= {"pinnedIds": ",".join(chosen), "supernodes": json.dumps(groups)}
    content = {"metadata": metadata, "qParams": asked, "nodes": draw.sample(nodes, len(nodes)), "links": links}
    if "no qParams" in quirks:
        del content["qParams"]
    return content
