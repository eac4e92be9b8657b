"""What attribution graphs of the test prompts say of a variable: whether some group of units holds it, and how much of
the answer's input goes through that group.

For each graph the group is made of the units that pruning keeps at one place, in some layers: the fewest that carry
most of what the value's prompts have above the mean over values, as it is written, on the development prompts. It holds
the variable if its members tell this value from the others on the test prompts. Where it is looked for is fixed on
graphs of development prompts; where a variable is moved best need not be where one group of units says it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.graphs import Graph
from silverstain.graphs.influence import edge_shares, influence
from silverstain.statistics import Share, share_of

from .carriers import Units, fewest
from .choosing import Setting
from .division import MOST_COMPARED, distinct
from .rules import LEAST_REPLACEMENT, RECALL, SEPARATION
from .trial import Trial
from .values import LAST, Case, Findings, Measure, MeasureRole, Pair, measured

N_GRAPHS = 100
N_CHOSEN_BY = 16
"""Development prompts whose graphs say where to look."""
LEAST_CASES = 2
"""Test prompts of a value, and of the others, that an AUROC needs."""


class GraphOfPrompt(NamedTuple):
    """What one graph says."""

    pair: Pair
    graph: Graph
    members: tuple[int, ...]
    """Nodes of the group."""
    separation: float | None
    """AUROC of the group on the test prompts; None where too few prompts have the value."""
    through: float
    """Share of what reaches the answer from the tokens that passes through the group."""
    of_words: dict[str, float]
    """The same of what comes from each named place alone: 1 less the shortcut's share."""


def where_shown(trial: Trial, moved: Setting) -> Setting:
    """The one place and the layers in which graphs of development prompts show the variable most often; where the
    variable is moved, if there as often."""
    pairs = trial.chosen_by[:N_CHOSEN_BY]
    graphs = [trial.subject.loaded.trace(pair.base.text).prune() for pair in pairs]
    cases = distinct([*(pair.base for pair in pairs), *trial.fitted])[:MOST_COMPARED]
    held = {place: trial.held_by(cases, place) for place in trial.variable.places}

    def rank(setting: Setting) -> tuple[int, float, bool]:
        found = [
            _separation(trial, setting, pair, graph, _members(trial, setting, pair, graph), held[setting.place],
                        cases)
            for pair, graph in zip(pairs, graphs, strict=True)
        ]  # fmt: skip
        known = [one for one in found if one is not None]
        return sum(one >= SEPARATION for one in known), round(sum(known), 6), setting == moved

    windows = trial.carrier.windows()
    tried = [replace(moved, places=(p,), window=w) for p in trial.variable.places for w in windows]
    tried += [moved] if len(moved.places) == 1 else []
    return max(tried, key=rank)


def graphs_of(
    trial: Trial, setting: Setting, n: int = N_GRAPHS, *, sources: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[GraphOfPrompt]:  # fmt: skip
    """The graphs of the first n test prompts, and the group of each."""
    assert isinstance(trial.carrier, Units)
    pairs, subject = trial.tested[:n], trial.subject
    held = trial.held_by(trial.kept_back, setting.place)
    found = []
    for number, pair in enumerate(pairs):
        graph = subject.loaded.trace(pair.base.text).prune()
        members = _members(trial, setting, pair, graph)
        position = {place: subject.position(pair.base, place) for place in sources}
        through, of_words = _through(graph, members, position)
        separation = _separation(trial, setting, pair, graph, members, held, trial.kept_back)
        found.append(GraphOfPrompt(pair, graph, members, separation, through, of_words))
        on_progress(number + 1, len(pairs))
    return found


def recalled(found: Sequence[GraphOfPrompt], name: str, *, of: str = "", role: MeasureRole = "target") -> Findings:
    """Recall of the variable over graphs, with the replacement score that judging needs, and path shares."""
    known = [one for one in found if one.separation is not None]
    hits = sum(one.separation is not None and one.separation >= SEPARATION for one in known)
    share: Share | None = share_of(hits, len(known)) if known else None
    replacement = _mean([one.graph.scores().replacement for one in found])
    through = _mean([one.through for one in found])
    measures = [
        Measure(
            name=f"{of}replacement score", about="of the graphs; below it the basis is too poor to judge by",
            role="gate", value=replacement, n=len(found), bar=LEAST_REPLACEMENT,
        ),
        measured(f"{of}{name} found in graphs", f"a group of kept units tells it with AUROC of at least {SEPARATION}",
                 role, share, bar=RECALL if role == "target" else None),
        Measure(
            name=f"{of}share through {name}", about="of what reaches the answer from the words, in graphs",
            role="reported", value=through, n=len(found),
        ),
    ]  # fmt: skip
    for place in found[0].of_words if found else ():
        beside = _mean([1 - one.of_words[place] for one in found])
        measures.append(
            Measure(
                name=f"{of}shortcut from {place}", role="reported", value=beside, n=len(found),
                about=f"share of what reaches the answer from {place} without passing {name}",
            )
        )  # fmt: skip
    return Findings(measures=tuple(measures))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _excess(trial: Trial, setting: Setting, value: str, layer: int) -> Float[Tensor, " unit"]:
    """What the value's prompts have above the mean over values, as it is written; nothing where they have less."""
    means = trial.means(setting.place)
    return (means.of(value, layer) - means.overall(layer)).clamp_min(0) * trial.carrier.size(layer)


def _members(trial: Trial, setting: Setting, pair: Pair, graph: Graph) -> tuple[int, ...]:
    """Nodes that pruning kept at the place and in the layers, the fewest that carry most of the excess."""
    assert graph.node_mask is not None
    nodes, at = graph.nodes, trial.subject.position(pair.base, setting.place)
    first, last = setting.window
    here = graph.nodes.is_kind("feature") & graph.node_mask & (nodes.position == at)
    here &= (nodes.layer >= first) & (nodes.layer <= last)
    candidates = here.nonzero().flatten()
    if not len(candidates):
        return ()
    by_layer = {layer: _excess(trial, setting, pair.base.value, layer) for layer in range(first, last + 1)}
    sizes = torch.stack([by_layer[int(nodes.layer[i])][int(nodes.feature[i])] for i in candidates])
    if len(candidates) == 1:
        return (int(candidates[0]),) if float(sizes) > 0 else ()
    return tuple(candidates[fewest(sizes)].tolist())


def _separation(
    trial: Trial,
    setting: Setting,
    pair: Pair,
    graph: Graph,
    members: Sequence[int],
    held: Float[Tensor, "layer case d"],
    cases: Sequence[Case],
) -> float | None:
    """AUROC of what the members hold together, each weighed by its excess, on prompts that this one is among."""
    mine = torch.tensor([other.value == pair.base.value for other in cases])
    if min(int(mine.sum()), int((~mine).sum())) < LEAST_CASES:
        return None
    if not members:
        return 0.5
    scores = torch.zeros(len(cases), dtype=torch.float64)
    for layer in sorted({int(graph.nodes.layer[i]) for i in members}):
        units = torch.tensor([int(graph.nodes.feature[i]) for i in members if int(graph.nodes.layer[i]) == layer])
        weight = (_excess(trial, setting, pair.base.value, layer) * trial.carrier.size(layer))[units]
        activations = trial.carrier.components(layer, held[layer])[:, units]
        scores += (activations @ weight).double()
    return auroc(scores, mine)


def auroc(scores: Float[Tensor, " case"], positive: Tensor) -> float:
    """The share of (positive, negative) pairs in which the positive scores more; ties count half."""
    above, below = scores[positive][:, None], scores[~positive][None, :]
    return float((above > below).double().mean() + 0.5 * (above == below).double().mean())


def _through(graph: Graph, members: Sequence[int], places: dict[str, int]) -> tuple[float, dict[str, float]]:
    """The share of the tokens' influence that passes through a group: what is lost when it passes nothing on."""
    is_token = graph.nodes.is_kind("token")
    shares = edge_shares(graph)
    open_to = torch.ones(graph.n_nodes, dtype=torch.bool)
    open_to[list(members)] = False
    whole = influence(graph, shares)
    without = influence(graph, torch.where(open_to[graph.indices.long()], shares, 0.0))

    def lost(chosen: Tensor) -> float:
        total = float(whole[chosen].sum())
        return 1 - float(without[chosen].sum()) / total if total > 0 else 0.0

    of_words = {place: lost(is_token & (graph.nodes.position == at)) for place, at in places.items() if place != LAST}
    return lost(is_token), of_words
