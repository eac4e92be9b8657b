"""A first grouping of units that no card names: by the word they stand at, by layers, by what they read and say.

    always on       neurons that the graph says are as strong whatever the prompt is
    outputs         where the answer is given: what says it, what takes it back (`saying`): say Madrid, less Paris
    attention       from the word that looks to the word that is looked at: attention: is ← Spain
    places          all others by their word, in the layers that fall apart by themselves (`bands`): Spain (L3–8)

A place whose first layers take most of their input right from the word's own tokens is *read* there: Spain, read (L0).
One that takes more from another word than from its own says from where: is, from Spain (L18–24). In a single run the
first word of the prompt is not named so: heads look there when they look for nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float64
from torch import Tensor

from silverstain.bases import Basis
from silverstain.features.bands import bands
from silverstain.features.prompt_words import PromptWords
from silverstain.features.saying import spoken
from silverstain.graphs import Graph, Group, edge_shares
from silverstain.graphs.kinds import ATTENTION, FEATURE, TOKEN
from silverstain.graphs.lettering import columns_of
from silverstain.models import LanguageModel

LONGEST_LABEL = 24
"""Columns of a label, if its words are not longer."""
READ = 0.5
"""Share of a layer's input, at one word, that must be direct from the word's own tokens for it to read the word."""
GIVES = 1 / 3
"""Share of a group's input by which another word is named; it must be no less than the share of its own word."""
SMALL = 0.1
"""Pairs of words with less than this share of all attention's influence are one group."""
ALWAYS_ON = "always on"


def place_groups(
    graph: Graph,
    model: LanguageModel,
    dictionary: Basis,
    nodes: Sequence[int],
    reached: Float64[Tensor, " node"],
    direct: Float64[Tensor, " node"],
    *,
    by_place: bool = True,
) -> list[Group]:
    """Groups of some units, from the prompt to the answer; labels may be alike (`told_apart`).

    Without `by_place`, features that are neither always on nor say anything stay alone.
    """
    reader = _Reader(graph, reached)
    kind = graph.nodes.kind.tolist()
    features = [node for node in nodes if kind[node] == FEATURE]
    steady = {(int(layer), int(feature)) for layer, feature in graph.meta.get("always_on") or ()}
    columns = zip(graph.nodes.layer.tolist(), graph.nodes.feature.tolist(), strict=True)
    is_steady = [place in steady for place in columns] if steady else [False] * graph.n_nodes
    always = [node for node in features if is_steady[node]]
    said = [one.group for one in spoken(graph, model, dictionary, [n for n in features if not is_steady[n]], direct)]
    taken = {node for group in said for node in group.members} | set(always)
    left = [node for node in features if node not in taken]
    groups = [
        *(reader.places(left) if by_place else ()),
        *reader.attention([node for node in nodes if kind[node] == ATTENTION]),
        *([Group(label=f"{ALWAYS_ON} {reader.span(always)}", kind=ALWAYS_ON, members=tuple(always))] if always else ()),
        *said,
    ]
    return sorted(groups, key=reader.order)


class _Reader:
    """What is asked of a graph while its units are grouped."""

    def __init__(self, graph: Graph, reached: Float64[Tensor, " node"]) -> None:
        self.graph, self.reached = graph, reached
        self.words = PromptWords(graph.meta.get("tokens") or ())
        self.layer, self.position = graph.nodes.layer.tolist(), graph.nodes.position.tolist()
        self.word = torch.tensor([self.words.at(at) for at in self.position])
        self.weight = reached.tolist()

    def places(self, nodes: Sequence[int]) -> list[Group]:
        """Features by word and layers."""
        at: dict[int, list[int]] = {}
        for node in nodes:
            at.setdefault(int(self.word[node]), []).append(node)
        own = self._from_own_tokens()
        found: list[tuple[list[int], bool]] = []
        for members in at.values():
            read = self._read_layers(members, own)
            first = [node for node in members if self.layer[node] in read]
            later = [node for node in members if self.layer[node] not in read]
            found += [(first, True)] if first else []
            for band in bands(self._by_layer(later)):
                inside = [node for node in later if self.layer[node] in band]
                found += [(inside, False)]
            placed = {node for group, _ in found for node in group}
            weightless = [node for node in later if node not in placed]
            found += [(weightless, False)] if weightless else []
        given = self._given([members for members, _ in found])
        return [
            Group(label=self._place_label(members, is_read, row), kind="place", members=tuple(members))
            for (members, is_read), row in zip(found, given, strict=True)
        ]

    def attention(self, nodes: Sequence[int]) -> list[Group]:
        """Attention by the words at its ends; pairs of words that do little are one group."""
        key = self.graph.nodes.key
        if key is None or not nodes:
            return []
        pairs: dict[tuple[int, int], list[int]] = {}
        for node in nodes:
            pairs.setdefault((int(self.word[node]), self.words.at(int(key[node]))), []).append(node)
        whole = sum(self.weight[node] for node in nodes)
        small = [pair for pair, some in pairs.items() if sum(self.weight[n] for n in some) < SMALL * whole]
        other = sorted(node for pair in small for node in pairs.pop(pair)) if len(small) > 1 else []
        groups = [
            Group(
                label=_fitting(f"attention: {self._name(query)} ← {self._name(read)}"),
                kind="attention",
                members=tuple(members),
            )
            for (query, read), members in pairs.items()
        ]
        return groups + ([Group(label="other attention", kind="attention", members=tuple(other))] if other else [])

    def span(self, nodes: Sequence[int]) -> str:
        """The layers of some nodes: (L3–8)."""
        layers = [self.layer[node] for node in nodes]
        low, high = min(layers), max(layers)
        return f"(L{low})" if low == high else f"(L{low}–{high})"

    def order(self, group: Group) -> tuple[float, float, tuple[int, ...]]:
        """From the prompt to the answer: places and attention by layer and word, then what is said."""
        weight = sum(self.weight[node] for node in group.members)
        share = [self.weight[node] / weight if weight > 0 else 1 / len(group.members) for node in group.members]
        mean = sum(self.layer[node] * part for node, part in zip(group.members, share, strict=True))
        return (float(group.kind == "output"), round(mean, 6), group.members)

    def _name(self, word: int) -> str:
        return self.words.names[word] if 0 <= word < len(self.words) else "?"

    def _by_layer(self, nodes: Sequence[int]) -> list[float]:
        weights = [0.0] * max(self.graph.n_layers, 1)
        for node in nodes:
            weights[self.layer[node]] += self.weight[node]
        return weights

    def _from_own_tokens(self) -> Float64[Tensor, " node"]:
        """The share of each node's input that comes directly from the tokens of its own word."""
        graph, sources, targets = self.graph, self.graph.indices.long(), self.graph.targets
        is_own = (graph.nodes.kind[sources] == TOKEN) & (self.word[sources] == self.word[targets])
        shares = torch.where(is_own, edge_shares(graph), 0.0)
        return torch.zeros(graph.n_nodes, dtype=torch.float64).index_add_(0, targets, shares)

    def _read_layers(self, nodes: Sequence[int], own: Float64[Tensor, " node"]) -> set[int]:
        """The first layers, one after the other, in which a word is read."""
        whole, from_word = self._by_layer(nodes), [0.0] * max(self.graph.n_layers, 1)
        for node in nodes:
            from_word[self.layer[node]] += self.weight[node] * float(own[node])
        read: set[int] = set()
        for layer, weight in enumerate(whole):
            if weight > 0:
                if from_word[layer] < READ * weight:
                    break
                read.add(layer)
        return read

    def _given(self, groups: Sequence[Sequence[int]]) -> Float64[Tensor, "group word"]:
        """The share of each group's input that comes directly from each word of the prompt."""
        graph, n = self.graph, max(len(self.words), 1)
        group_of = torch.full((graph.n_nodes,), -1)
        for i, group in enumerate(groups):
            group_of[list(group)] = i
        target, source = group_of[graph.targets], self.word[graph.indices.long()]
        counted = (target >= 0) & (source >= 0)
        flow = (edge_shares(graph) * self.reached[graph.targets])[counted]
        found = torch.zeros(len(groups), n, dtype=torch.float64)
        found.index_put_((target[counted], source[counted]), flow, accumulate=True)
        return found / found.sum(1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)

    def _place_label(self, members: Sequence[int], is_read: bool, given: Float64[Tensor, " word"]) -> str:
        word, span = int(self.word[members[0]]), self.span(members)
        if is_read:
            return _fitting(f"{self._name(word)}, read {span}", f"{self._name(word)} {span}")
        first = 0 if self.graph.meta.get("contrast") else 1
        others = [w for w in range(first, len(self.words)) if w != word and float(given[w]) >= GIVES]
        own = float(given[word]) if word >= 0 else 0.0
        named = sorted((w for w in others if float(given[w]) >= own), key=lambda w: (-float(given[w]), w))
        ways = [f"{self._name(word)}, from {' + '.join(map(self._name, named[:n]))} {span}" for n in (2, 1)]
        return _fitting(*(ways if named else ()), f"{self._name(word)} {span}")


def _fitting(*labels: str) -> str:
    """The first label that is not too long, or else the last."""
    return next((label for label in labels if columns_of(label) <= LONGEST_LABEL), labels[-1])


def told_apart(groups: Sequence[Group]) -> list[Group]:
    """The groups, those called like one before them numbered: (2)."""
    times, out = Counter[str](), []
    for group in groups:
        times[group.label] += 1
        n = times[group.label]
        out.append(group if n == 1 else replace(group, label=f"{group.label} ({n})"))
    return out
