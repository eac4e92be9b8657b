"""The nodes of a JSON graph: what their types, layers, numbers and labels say, which differs from tool to tool.

circuit-tracer has answers at layer n_layers + 1 and embeddings at "E", and numbers a feature by the Cantor pair of its
layer and index; before, by 100,000 × layer + index. Others leave the number of what is no feature out, or have answers
at "-1". The ids are circuit-tracer's, or anything.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from silverstain.errors import UsageError
from silverstain.graphs.export import FEATURE_TYPES
from silverstain.graphs.json_schema import GraphFile, NodeFile
from silverstain.graphs.kinds import ATTENTION, BIAS, FEATURE, LOGIT, TOKEN
from silverstain.graphs.places import LARGEST_NUMBER, MOST_LAYERS
from silverstain.notation import read_node
from silverstain.printable import printable
from silverstain.validation import LARGEST

KINDS = {name: kind for kind, name in FEATURE_TYPES.items()}
ALSO = {"per layer transcoder": FEATURE, "transcoder": FEATURE, "bias": BIAS}
"""What others call them; capitals, hyphens and underscores do not matter."""
QUOTED = re.compile(r'[^"]*"(?P<name>.*)"[^"]*', re.DOTALL)
"""Output "texas" (p=0.100), Emb: "the"."""
LAYER = re.compile(r"-?[0-9]{1,9}")
ANSWER_ID = re.compile(r"[0-9]{1,9}_(?P<token>[0-9]{1,10})_(?P<position>[0-9]{1,10})")
FORMER_LAYER = 100_000
MOST_NAMED = 5


class JsonNode(NamedTuple):
    """In the order of `NodeTable`, which sorting follows: by kind, and in it by layer, position, feature and key."""

    kind: int
    layer: int
    position: int
    feature: int
    """Or the head of attention, -1 for the rest of attention."""
    key: int
    """The position that attention reads from, else -1."""
    rank: int
    """Where it stands in the file: logits keep that order."""
    token: int
    activation: float
    label: str
    node_id: str
    is_direction: bool
    """An answer that is no token."""

    @property
    def sort_key(self) -> tuple[int, ...]:
        return (self.kind, 0, 0, 0, 0, self.rank) if self.kind == LOGIT else tuple(self[:6])

    @property
    def depth(self) -> int:
        """As `NodeTable.depth` has it."""
        return 2 * self.layer + (self.kind != ATTENTION)

    @property
    def is_target(self) -> bool:
        """Whether links may end here."""
        return self.kind in (FEATURE, LOGIT) or (self.kind == ATTENTION and self.feature >= 0)


def read_nodes(path: Path, file: GraphFile) -> list[JsonNode]:
    """The nodes in the order of the file; UsageError for kinds that we have not, ValueError for what cannot be."""
    kinds = [_kind(node.feature_type) for node in file.nodes]
    _refuse_unknown_kinds(path, file.nodes, kinds)
    layers = [_layer(node, kind or 0) for node, kind in zip(file.nodes, kinds, strict=True)]
    n_layers = _n_layers(file, kinds, layers)
    return [
        _node(node, kind or 0, n_layers if kind == LOGIT else layer, rank)
        for rank, (node, kind, layer) in enumerate(zip(file.nodes, kinds, layers, strict=True))
    ]


def _kind(feature_type: str) -> int | None:
    name = re.sub(r"[-_ ]+", " ", feature_type.strip().lower())
    return KINDS.get(name, ALSO.get(name))


def _refuse_unknown_kinds(path: Path, nodes: Sequence[NodeFile], kinds: Sequence[int | None]) -> None:
    unknown = Counter(node.feature_type for node, kind in zip(nodes, kinds, strict=True) if kind is None)
    if unknown:
        named = [f"{count} of type {printable(kind, 40)!r}" for kind, count in unknown.most_common(MOST_NAMED)]
        more = f" and {len(unknown) - MOST_NAMED} more types" if len(unknown) > MOST_NAMED else ""
        raise UsageError(
            f"{printable(str(path), 200)} has nodes that silverstain has no kind for: {', '.join(named)}{more}; "
            f"it reads {', '.join(map(repr, KINDS))}"
        )


def _layer(node: NodeFile, kind: int) -> int:
    """The layer that is written, -1 for an embedding."""
    if kind == TOKEN:
        return -1
    written = str(node.layer).strip()
    layer = int(written) if LAYER.fullmatch(written) else None
    if layer is None or not -1 <= layer <= MOST_LAYERS + 1 or (layer < 0 and kind != LOGIT):
        raise ValueError(f"the node {printable(node.node_id, 60)!r} is at layer {printable(written, 40)}")
    return layer


def _n_layers(file: GraphFile, kinds: Sequence[int | None], layers: Sequence[int]) -> int:
    """As the file states, or one less than the layer of its answers, and never less than its highest node needs."""
    if LOGIT not in kinds:
        raise ValueError("it has no answer, that is no node of type 'logit'")
    highest = max((layer for layer, kind in zip(layers, kinds, strict=True) if kind != LOGIT), default=-1)
    stated = file.metadata.n_layers
    if stated is not None and not highest < stated <= MOST_LAYERS:
        raise ValueError(f"a node is at layer {highest} of n_layers {stated}")
    answers = max(layer for layer, kind in zip(layers, kinds, strict=True) if kind == LOGIT)
    return stated if stated is not None else max(answers - 1, highest + 1)


def _node(node: NodeFile, kind: int, layer: int, rank: int) -> JsonNode:
    weight = (node.token_prob if kind == LOGIT else node.activation) or 0.0
    if abs(weight) > LARGEST_NUMBER:
        raise ValueError(f"the activation of {printable(node.node_id, 60)!r} is larger than {LARGEST_NUMBER:.2g}")
    label = node.clerp or ""
    quoted = QUOTED.fullmatch(label) if kind in (LOGIT, TOKEN) else None
    head, key = _head_and_key(node, layer) if kind == ATTENTION else (-1, -1)
    is_direction = kind == LOGIT and "direction" in node.node_id
    return JsonNode(
        kind=kind,
        layer=layer,
        position=node.ctx_idx,
        feature=_feature_index(node, layer) if kind == FEATURE else head,
        key=key,
        rank=rank,
        token=-1 if is_direction else _token_id(node, kind),
        activation=weight,
        label=quoted["name"] if quoted else label,
        node_id=node.node_id,
        is_direction=is_direction,
    )


def _head_and_key(node: NodeFile, layer: int) -> tuple[int, int]:
    """Out of the id `layer_attnhead_position_key`, or `layer_attn_position` of the rest; ValueError for another id."""
    named = read_node(node.node_id)
    if named is None or (named.kind, named.layer, named.position) != ("attention", layer, node.ctx_idx):
        raise ValueError(f"the id of the attention {printable(node.node_id, 60)!r} does not say its head and key")
    return (-1, -1) if named.key is None else (named.index, named.key)


def _feature_index(node: NodeFile, layer: int) -> int:
    """Out of the id `layer_feature_position`, or else of the number; ValueError if neither says it."""
    named = read_node(node.node_id)
    if named and (named.kind, named.layer, named.position) == ("feature", layer, node.ctx_idx):
        index = named.index
    elif node.feature is None or node.feature < 0:
        raise ValueError(
            f"neither the id nor the number of the feature {printable(node.node_id, 60)!r} says which it is"
        )
    else:
        index = _from_number(node, layer, node.feature)
    if index > LARGEST:
        raise ValueError(f"the feature {printable(node.node_id, 60)!r} has the number {index} in its layer")
    return index


def _from_number(node: NodeFile, layer: int, number: int) -> int:
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    index = number - diagonal * (diagonal + 1) // 2
    if diagonal - index == layer:
        return index
    if number // FORMER_LAYER == layer:
        return number % FORMER_LAYER
    raise ValueError(
        f"the feature {printable(node.node_id, 60)!r} of layer {layer} has the number {number}, "
        f"of layer {diagonal - index}"
    )


def _token_id(node: NodeFile, kind: int) -> int:
    """The vocabulary's id of an embedding or an answer, -1 where the file does not say it."""
    token = -1
    if kind == TOKEN:
        named = read_node(node.node_id)
        token = named.index if named and named.kind == "token" and named.position == node.ctx_idx else -1
    elif kind == LOGIT:
        named = ANSWER_ID.fullmatch(node.node_id)
        from_id = int(named["token"]) if named and int(named["position"]) == node.ctx_idx else -1
        token = from_id if node.feature is None else node.feature
    return token if 0 <= token <= LARGEST else -1
