"""What attribution graphs of the test prompts say of a variable: whether units of its value's supernode are in them,
whether that supernode tells the value, and how much of the answer's input goes through it.

A graph shows the variable if pruning keeps a unit of the supernode of its prompt's value (`supernodes`), and if this
supernode, whose units and weights are of development prompts, tells the value from the others on the test prompts.
Where it is looked for is fixed on graphs of development prompts; where a variable is moved best need not be where its
units say it. The same under permuted labels is a control: it must show nothing.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from silverstain.graphs import Graph
from silverstain.graphs.influence import edge_shares, influence
from silverstain.statistics import Share, share_of

from .carriers import Units
from .choosing import Setting
from .division import MOST_COMPARED, distinct
from .means import Means
from .rules import CONTROL, LEAST_REPLACEMENT, RECALL, SEPARATION
from .supernodes import Supernodes, Traced, supernodes
from .trial import Trial
from .values import LAST, Case, Findings, Measure, Pair, measured

N_GRAPHS = 100
N_DEVELOPED = 200
"""Development prompts, as many of each value as there are, whose graphs make supernodes and say where to look."""


class Labels(NamedTuple):
    """The value that each prompt counts under, its own or a permuted one, and the means that follow, by place."""

    means: Mapping[str, Means]
    of: Callable[[Case], str]


class GraphOfPrompt(NamedTuple):
    """What one graph says."""

    pair: Pair
    graph: Graph
    members: tuple[int, ...]
    """Kept nodes of the value's supernode."""
    separation: float | None
    """AUROC of that supernode on the test prompts; 0.5 where the graph has none of it, None where too few prompts have
    the value."""
    through: float
    """Share of what reaches the answer from the tokens that passes through the members."""
    of_words: dict[str, float]
    """The same of what comes from each named place alone: 1 less the shortcut's share."""


def developed(trial: Trial, n: int = N_DEVELOPED) -> list[Traced]:
    """The graphs of development prompts, of each value in turn."""
    rng, by_value = random.Random(f"graphs of development prompts {trial.settings.seed}"), dict[str, list[Case]]()
    for case in rng.sample(trial.fitted, len(trial.fitted)):
        by_value.setdefault(case.value, []).append(case)
    most = max(len(cases) for cases in by_value.values())
    turns = [cases[turn] for turn in range(most) for _, cases in sorted(by_value.items()) if turn < len(cases)]
    return [Traced(case, trial.subject.loaded.trace(case.text).prune()) for case in turns[:n]]


def own_labels(trial: Trial) -> Labels:
    return Labels({place: trial.means(place) for place in trial.variable.places}, lambda case: case.value)


def permuted_labels(trial: Trial) -> Labels:
    """Labels permuted over combinations: a variable that is none."""
    label = trial.permuted(trial.settings.seed)
    means, _, _ = trial.nonsense(trial.settings.seed)
    return Labels(means, lambda case: label[case.combination])


def where_shown(trial: Trial, moved: Setting, traced: Sequence[Traced], labels: Labels) -> Setting:
    """The one place and the layers in which graphs of development prompts show the variable most often; where the
    variable is moved, if there as often."""
    cases = distinct([*(one.case for one in traced), *trial.fitted])[:MOST_COMPARED]
    held = {place: trial.held_by(cases, place) for place in trial.variable.places}
    values = [labels.of(case) for case in cases]

    def rank(setting: Setting) -> tuple[int, float, bool]:
        found = supernodes(trial.subject, labels.means[setting.place], setting, traced, labels.of)
        told = found.separations(trial.carrier, held[setting.place], values)
        every = [_shown(trial, found, one, labels.of(one.case), told) for one in traced]
        known = [one for one in every if one is not None]
        return sum(one >= SEPARATION for one in known), round(sum(known), 6), setting == moved

    windows = trial.carrier.windows()
    tried = [replace(moved, places=(p,), window=w) for p in trial.variable.places for w in windows]
    tried += [moved] if len(moved.places) == 1 else []
    return max(tried, key=rank)


def graphs_of(
    trial: Trial, setting: Setting, traced: Sequence[Traced], n: int = N_GRAPHS, *, sources: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[GraphOfPrompt]:  # fmt: skip
    """The graphs of the first n test prompts, and what each has of its value's supernode.

    Args:
        traced: Graphs of development prompts, which make the supernodes.
        sources: Places whose shortcut share is told.
    """
    assert isinstance(trial.carrier, Units)
    labels, subject = own_labels(trial), trial.subject
    found, told = _supernodes_tested(trial, setting, traced, labels)
    graphs, pairs = [], trial.tested[:n]
    for number, pair in enumerate(pairs):
        one = Traced(pair.base, subject.loaded.trace(pair.base.text).prune())
        members = found.members(subject, one, pair.base.value)
        position = {place: subject.position(pair.base, place) for place in sources}
        through, of_words = _through(one.graph, members, position)
        separation = _shown(trial, found, one, pair.base.value, told)
        graphs.append(GraphOfPrompt(pair, one.graph, members, separation, through, of_words))
        on_progress(number + 1, len(pairs))
    return graphs


def shown_of_nonsense(
    trial: Trial, moved: Setting, traced: Sequence[Traced], tested: Sequence[GraphOfPrompt]
) -> list[float | None]:
    """The separation in each test graph of no variable: labels are permuted, and where to look is chosen anew."""
    labels = permuted_labels(trial)
    setting = where_shown(trial, moved, traced, labels)
    found, told = _supernodes_tested(trial, setting, traced, labels)
    graphs = [Traced(one.pair.base, one.graph) for one in tested]
    return [_shown(trial, found, one, labels.of(one.case), told) for one in graphs]


def _supernodes_tested(
    trial: Trial, setting: Setting, traced: Sequence[Traced], labels: Labels
) -> tuple[Supernodes, dict[str, float | None]]:
    """Supernodes of development prompts, and how each tells its value on prompts of test combinations."""
    found = supernodes(trial.subject, labels.means[setting.place], setting, traced, labels.of)
    held = trial.held_by(trial.kept_back, setting.place)
    return found, found.separations(trial.carrier, held, [labels.of(case) for case in trial.kept_back])


def _shown(
    trial: Trial, found: Supernodes, traced: Traced, value: str, told: Mapping[str, float | None]
) -> float | None:
    """The AUROC of a value's supernode where the graph has a unit of it, and that of chance where it has none."""
    if told[value] is None:
        return None
    return told[value] if found.members(trial.subject, traced, value) else 0.5


def share_shown(separations: Sequence[float | None]) -> Share | None:
    """Of the graphs of values of which it is known, how many show the variable."""
    known = [one for one in separations if one is not None]
    return share_of(sum(one >= SEPARATION for one in known), len(known)) if known else None


def recalled(found: Sequence[GraphOfPrompt], nonsense: Sequence[float | None], name: str, *, of: str = "") -> Findings:
    """Recall of the variable over graphs beside that of permuted labels, the replacement score that judging needs, and
    path shares."""
    replacement = _mean([one.graph.scores().replacement for one in found])
    through = _mean([one.through for one in found])
    measures = [
        Measure(
            name=f"{of}replacement score", about="of the graphs; below it the basis is too poor to judge by",
            role="gate", value=replacement, n=len(found), bar=LEAST_REPLACEMENT,
        ),
        measured(
            f"{of}{name} found in graphs",
            f"a unit of the value's supernode is kept, and this supernode tells it with AUROC of at least {SEPARATION}",
            "target", share_shown([one.separation for one in found]), bar=RECALL,
        ),
        measured(
            f"{of}{name} found in graphs, labels permuted", "the same of no variable", "control",
            share_shown(nonsense), bar=CONTROL,
        ),
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
