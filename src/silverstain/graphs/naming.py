"""What nodes of a graph are called, for people."""

from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.kinds import ATTENTION
from silverstain.graphs.nodes import NodeTable
from silverstain.notation import attention_name, feature_name
from silverstain.printable import printable

LONGEST_TOKEN = 24


def unit_name(nodes: NodeTable, node: int, *, with_position: bool = True) -> str:
    """A feature or attention in the notation: L3.F1501@9, L3.H2@9←4; a feature also without its position."""
    layer, index, position = (int(column[node]) for column in (nodes.layer, nodes.feature, nodes.position))
    if int(nodes.kind[node]) == ATTENTION:
        return attention_name(layer, index, position, -1 if nodes.key is None else int(nodes.key[node]))
    return feature_name(layer, index, position if with_position else None)


def attention_in_words(graph: GraphArrays, node: int) -> str:
    """H3 of L12: ' is' looks more at ' Spain'; the rest of attention as rest of attention of L12 at ' is'."""
    nodes = graph.nodes
    layer, head, position = (int(column[node]) for column in (nodes.layer, nodes.feature, nodes.position))
    query = _token(graph, position)
    if head < 0 or nodes.key is None:
        return f"rest of attention of L{layer} at {query}"
    key = int(nodes.key[node])
    change = "less" if float(nodes.activation[node]) < 0 else "more"
    return f"H{head} of L{layer}: {query} looks {change} at {'itself' if key == position else _token(graph, key)}"


def attention_in_short(graph: GraphArrays, node: int) -> str:
    """more: ' is' ← ' Spain'."""
    nodes = graph.nodes
    change = "less" if float(nodes.activation[node]) < 0 else "more"
    key = -1 if nodes.key is None else int(nodes.key[node])
    return f"{change}: {_token(graph, int(nodes.position[node]))} ← {_token(graph, key)}"


def _token(graph: GraphArrays, position: int) -> str:
    tokens = graph.meta.get("tokens") or ()
    return f"'{printable(str(tokens[position]), LONGEST_TOKEN)}'" if 0 <= position < len(tokens) else f"@{position}"
