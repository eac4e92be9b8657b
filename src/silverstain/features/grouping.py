"""A first grouping of a graph's nodes into supernodes: features with one meaning are one group.

    tokens      the pieces of a word, with the features that stand for that word, read there: dallas
    concepts    features that stand for one hidden value, wherever they are: state = texas
    outputs     features that promote one output: say austin, say a capital
    logits      each target by itself

A feature of several values (state = texas or ohio) joins the group of one of them, if just one has a group in this
graph. Features that no class fits, errors and biases are in no group.
"""

from collections import Counter
from collections.abc import Sequence

from silverstain.features.cards import Cards
from silverstain.features.corpus import CONTINUES, word_starts
from silverstain.features.unions import values_in
from silverstain.graphs import Graph, Group

Key = tuple[str, str, int]
"""(kind of group, label, first position of a word or -1)."""

KIND_ORDER = ("token", "concept", "output", "logit")


def group_nodes(graph: Graph, cards: Cards) -> list[Group]:
    """Groups of the nodes that pruning kept (of all, before pruning), from the prompt to the answer.

    Labels are unique: a word that is there twice is the (2) word. Leading positions that keep their real MLP have no
    group, unless something there was kept as a word.
    """
    tokens: Sequence[str] = graph.meta["tokens"]
    starts = _word_of_positions(tokens)
    nodes = graph.nodes
    kept = range(graph.n_nodes) if graph.node_mask is None else graph.node_mask.nonzero().flatten().tolist()
    kinds, layers = nodes.kinds, nodes.layer.tolist()
    positions, features = nodes.position.tolist(), nodes.feature.tolist()
    target_names, first_target = graph.target_names, nodes.span("logit").start
    n_real = int(graph.meta.get("settings", {}).get("n_real", 1))
    members: dict[Key, list[int]] = {}
    for node in kept:
        key: Key | None = None
        if kinds[node] == "token" and positions[node] >= n_real:
            key = _word_key(tokens, starts, positions[node])
        elif kinds[node] == "logit":
            key = ("logit", target_names[node - first_target], node)
        elif kinds[node] == "feature":
            key = _feature_key(cards, layers[node], features[node], tokens, starts, positions[node])
        if key is not None:
            members.setdefault(key, []).append(node)
    return _ordered(_join_unions(members), layers)


def _join_unions(members: dict[Key, list[int]]) -> dict[Key, list[int]]:
    """Groups of several values moved into that of the one value which has a group of its own."""
    out = {key: list(nodes) for key, nodes in members.items()}
    for key in members:
        single = [(key[0], value, key[2]) for value in values_in(key[1]) if (key[0], value, key[2]) in members]
        if key[0] == "concept" and len(values_in(key[1])) > 1 and len(single) == 1:
            out[single[0]] = sorted(out[single[0]] + out.pop(key))
    return out


def _feature_key(
    cards: Cards, layer: int, feature: int, tokens: Sequence[str], starts: Sequence[int], position: int
) -> Key | None:
    label = cards.group_label(layer, feature)
    if label is None:
        return None
    kind = cards.kind_of(layer, feature)
    if kind == "value":
        return ("concept", label, -1)
    if kind in ("next", "next class"):
        return ("output", label, -1)
    word = _word_key(tokens, starts, position)
    if kind == "word" and word[1].startswith(label.removesuffix(CONTINUES)):
        return word  # the word itself, or its first pieces, read where they are written
    return ("concept", label.removesuffix(CONTINUES), starts[position] if kind == "word class" else -1)


def _word_key(tokens: Sequence[str], starts: Sequence[int], position: int) -> Key:
    first = starts[position]
    pieces = [token for token, start in zip(tokens, starts, strict=True) if start == first]
    return ("token", "".join(piece.removeprefix("##").lstrip("Ġ▁ ") or piece for piece in pieces), first)


def _word_of_positions(tokens: Sequence[str]) -> list[int]:
    """The position at which the word of each token begins."""
    first, out = 0, []
    for position, begins in enumerate(word_starts(tokens).tolist()):
        first = position if begins else first
        out.append(first)
    return out


def _ordered(members: dict[Key, list[int]], layers: Sequence[int]) -> list[Group]:
    def rank(key: Key) -> tuple[int, float, int]:
        mean_layer = sum(layers[node] for node in members[key]) / len(members[key])
        kind = KIND_ORDER.index(key[0])
        # Words by position, then concepts and outputs by layer, then the targets in their own order.
        return (0, key[2], 0) if kind == 0 else (2, key[2], 0) if kind == 3 else (1, mean_layer, kind)

    used: Counter[str] = Counter()
    groups: list[Group] = []
    for key in sorted(members, key=rank):
        used[key[1]] += 1
        label = key[1] if used[key[1]] == 1 else f"{key[1]} ({used[key[1]]})"
        groups.append(Group(label=label, kind=key[0], members=tuple(members[key])))
    return groups
