"""How features and other nodes are named on the command line and in tables.

    L3.F1501     feature 1501 of layer 3       L3.F1501@9   at position 9, negative from the end
    L3.error     the error node of layer 3     L3.error@9
    token        the embedding                 token@9
    L3.H2        attention head 2 of layer 3
    L3.H2@9←4    what that head reads at position 4 for position 9; also L3.H2@9<4
    L3.attention@9   all else that attention of layer 3 reads for position 9
    L3.NAME      the direction called NAME where block 3 leaves the stream

The ids that nodes have in files are read as well: `3_1501_9` (layer, feature, position), `3_1501`, `3_error_9`,
`3_attn2_9_4` (layer, head, position, key), `3_attn_9` and `E_40_9` (the vocabulary's token 40 at position 9). Capitals
do not matter.
"""

import re
from dataclasses import dataclass

NUMBER = r"\d{1,9}"  # more than any model has, and less than overflows anywhere
_NODE = re.compile(
    rf"""\s*(?:
        (?: L(?P<layer>{NUMBER}) \. (?: F(?P<feature>{NUMBER}) | H(?P<head>{NUMBER}) | (?P<error>error)
                                      | (?P<direction>[^@+=<←]+?) )
          | (?P<token>token) )
        (?: \s*@\s* (?P<position>-?{NUMBER}) )?
      | (?P<id_layer>{NUMBER}) _ (?: (?P<id_feature>{NUMBER}) | (?P<id_error>error) ) (?: _ (?P<id_position>{NUMBER}) )?
      | E_(?P<id_token>{NUMBER})_(?P<id_token_position>{NUMBER})
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)

_ATTENTION = re.compile(
    rf"""\s*(?:
        (?: attention\s+ )? L(?P<layer>{NUMBER}) \. H(?P<head>{NUMBER})
            \s*@\s* (?P<position>{NUMBER}) \s*[<←]\s* (?P<key>{NUMBER})
      | (?P<id_layer>{NUMBER}) _attn (?P<id_head>{NUMBER}) _ (?P<id_position>{NUMBER}) _ (?P<id_key>{NUMBER})
      | L(?P<rest_layer>{NUMBER}) \. attention \s*@\s* (?P<rest_position>{NUMBER})
      | (?P<id_rest_layer>{NUMBER}) _attn_ (?P<id_rest_position>{NUMBER})
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True)
class NodeName:
    """What a name names: a feature, an error node, a token, an attention head, what one reads, or a direction."""

    kind: str
    """feature, error, token, head, attention or direction."""
    layer: int = -1
    """-1 for a token."""
    index: int = -1
    """Of the feature or head in its layer, -1 for the rest of attention; of a token in the vocabulary, where the name
    says it."""
    direction: str = ""
    position: int | None = None
    """Negative from the end; None where the name says no position."""
    key: int | None = None
    """The position that attention reads from; None for the rest of attention."""

    def __str__(self) -> str:
        """The notation, which `read_node` reads back."""
        what = {"feature": f"F{self.index}", "head": f"H{self.index}", "direction": self.direction}
        if self.kind == "attention" and self.key is not None:
            return f"L{self.layer}.H{self.index}@{self.position}←{self.key}"
        text = "token" if self.kind == "token" else f"L{self.layer}.{what.get(self.kind, self.kind)}"
        return text if self.position is None else f"{text}@{self.position}"


def read_node(text: str) -> NodeName | None:
    """What a text names, in the notation or as the id of a node; None if it names nothing so."""
    if attention := _ATTENTION.fullmatch(text):
        return _attention(attention)
    found = _NODE.fullmatch(text)
    if found is None:
        return None
    said = {key.removeprefix("id_"): value for key, value in found.groupdict().items() if value is not None}
    position = said.get("position", said.get("token_position"))
    kind = next(kind for kind in ("feature", "head", "error", "direction", "token") if kind in said)
    return NodeName(
        kind=kind,
        layer=int(said.get("layer", -1)),
        index=int(said[kind]) if kind != "direction" and said[kind].isdigit() else -1,
        direction=said[kind].strip() if kind == "direction" else "",
        position=None if position is None else int(position),
    )


def _attention(found: re.Match[str]) -> NodeName:
    said = {name.rpartition("_")[2]: int(value) for name, value in found.groupdict().items() if value is not None}
    return NodeName(
        kind="attention",
        layer=said["layer"],
        index=said.get("head", -1),
        position=said["position"],
        key=said.get("key"),
    )


def attention_name(layer: int, head: int, position: int, key: int) -> str:
    """What a head reads at a key for a position, in the notation; head -1 is the rest of attention."""
    found = NodeName(kind="attention", layer=layer, index=head, position=position, key=None if head < 0 else key)
    return str(found)


def feature_name(layer: int, feature: int, position: int | None = None) -> str:
    """A feature in the notation."""
    return str(NodeName(kind="feature", layer=layer, index=feature, position=position))


def name_of_id(node_id: str) -> str:
    """The id of a feature, attention, error or token node in the notation; another id as it is."""
    named = read_node(node_id)
    return node_id if named is None else str(named)
