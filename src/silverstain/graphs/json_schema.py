"""The JSON of circuit-tracer and Neuronpedia, as far as it is read, and as others may have written it."""

from typing import Annotated, Any

from pydantic import Field

from silverstain.graphs.meta import ContrastFile, NamedFile, Share
from silverstain.validation import LARGEST, Count, Finite, FromOutside, ShortText

PAIRS = Annotated[int, Field(ge=-(2**62), le=2**62)]
"""A Cantor pair of two numbers of 31 bits."""


class InfoFile(FromOutside):
    """Ours names model and dictionary here, and what else it knows of a contrast."""

    model: NamedFile | None = None
    dictionary: NamedFile | None = None
    contrast: ContrastFile | None = None
    rest: bool = False


class MetadataFile(FromOutside):
    prompt: str | None = None
    prompt_tokens: list[ShortText] | None = None
    scan: ShortText | list[ShortText] | None = None
    n_layers: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    node_threshold: Finite | None = None
    replacement_score: Share | None = None
    completeness_score: Share | None = None
    info: InfoFile | None = None


class QParamsFile(FromOutside):
    """Lists, or text where circuit-tracer's page has saved them."""

    pinnedIds: list[ShortText] | str | None = None
    supernodes: list[list[ShortText]] | str | None = None


class GroupsFile(FromOutside):
    """`supernodes`, when its text has been read."""

    supernodes: list[list[ShortText]]


class NodeFile(FromOutside):
    node_id: ShortText
    layer: int | ShortText
    ctx_idx: Count
    feature_type: ShortText
    feature: PAIRS | None = None
    clerp: ShortText | None = None
    token_prob: Share | None = None
    activation: Finite | None = None


class LinkFile(FromOutside):
    source: ShortText
    target: ShortText
    weight: Finite


class GraphFile(FromOutside):
    """Links are left as they are: there may be millions, which are read some at a time."""

    metadata: MetadataFile
    qParams: QParamsFile | None = None
    nodes: Annotated[list[NodeFile], Field(min_length=1)]
    links: list[Any]


class LinksFile(FromOutside):
    links: list[LinkFile]
