"""Where a graph does not show the variable, which it is that hides it, and the figure that says so.

    error nodes     most of what reaches the answer comes from what the basis misses
    attention       the prompt, read with the donor's attention, gives the donor's answer: the graph takes it as given
    inactive units  most of what moving the variable changes is in units that do not fire on this prompt, so that the
                    graph has no nodes of them
    split units     most of the influence at the place is in units that fire on few other prompts of the same value:
                    each stands for something finer than the variable
    the basis       none of these: its units, taken together, do not hold the variable where it was looked for

The first whose figure reaches its bar is named. Bars are fixed here.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from silverstain.attribution import record_run
from silverstain.interventions import AnyEdit, PatternEdit

from .choosing import Setting
from .graph_paths import GraphOfPrompt
from .subject import Subject
from .trial import Trial
from .values import Figure, Findings, Pair

Cause = Literal["error nodes", "attention", "inactive units", "split units", "the basis"]
CAUSES: tuple[Cause, ...] = ("error nodes", "attention", "inactive units", "split units", "the basis")
MOSTLY = 0.5
"""Share that a cause's figure must reach."""
COMMON = 0.5
"""A unit belongs to a value where it fires on so many of its prompts."""


class Diagnosis(NamedTuple):
    """Why one graph does not show the variable."""

    cause: Cause
    errors: float
    """Share of what reaches the answer that comes from error nodes."""
    attention: bool | None
    """Whether the donor's attention alone brings its answer along; None for prompts of two lengths."""
    inactive: float
    """Share of the change, as it is written, in units that do not fire here."""
    split: float
    """Share of the influence at the place in units that fire on few prompts of the value."""


def diagnosed(trial: Trial, setting: Setting, one: GraphOfPrompt) -> Diagnosis:
    """The cause of one graph's failure."""
    errors = 1 - one.graph.scores().replacement
    attention = goes_with_attention(trial, one.pair)
    inactive, split = _inactive(trial, setting, one), _split(trial, setting, one)
    found: Cause = "the basis"
    figures = (errors >= MOSTLY, attention is True, inactive >= MOSTLY, split >= MOSTLY)
    for cause, reaches in zip(CAUSES, figures, strict=False):
        if reaches:
            found = cause
            break
    return Diagnosis(found, errors, attention, inactive, split)


def told(found: Sequence[tuple[GraphOfPrompt, Diagnosis]], *, of: str = "", name: str = "") -> Findings:
    """How often each cause was named, with the mean of the figures."""
    if not found:
        return Findings()
    counts = Counter(diagnosis.cause for _, diagnosis in found)
    n = len(found)
    nothing = [None] * len(CAUSES)
    figure = Figure(
        name=f"diagnosis-{name.replace(' ', '-')}", kind="bars",
        title=f"Why {n} graphs do not show {name}",
        data={
            "labels": list(CAUSES), "values": [counts[cause] / n for cause in CAUSES],
            "lows": nothing, "highs": nothing, "bars": nothing, "holds": nothing,
        },
        note="Share of the graphs without a group of units that tells the value.",
    )  # fmt: skip
    most, _ = counts.most_common(1)[0]
    rows = tuple(
        {
            "question": f"why {name} is not shown", "prompt": one.pair.base.text, "cause": diagnosis.cause,
            "errors": diagnosis.errors, "attention": diagnosis.attention, "inactive": diagnosis.inactive,
            "split": diagnosis.split,
        }
        for one, diagnosis in found
    )  # fmt: skip
    listed = ", ".join(f"{cause} {count}" for cause, count in counts.most_common())
    return Findings(
        figures=(figure,), prompts=rows, notes=(f"{of}{n} graphs do not show {name}, mostly for {most} ({listed}).",)
    )


def goes_with_attention(trial: Trial, pair: Pair) -> bool | None:
    """Whether the base gives the counterfactual when it is read with the donor's attention."""
    places = differing(trial.subject, pair)
    if not places:
        return None
    (said,) = trial.subject.asked([pair.base.text], [attention_of(trial.subject, pair.donor.text, places)])
    return said.first in trial.subject.first_tokens(pair.counterfactual)


def differing(subject: Subject, pair: Pair) -> list[int] | None:
    """The places from the first token on in which two prompts of one length differ; None for others."""
    one, other = (subject.ids(case.text) for case in (pair.base, pair.donor))
    if len(one) != len(other):
        return None
    first = next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), None)
    return None if first is None else list(range(first, len(one)))


def attention_of(subject: Subject, text: str, positions: Sequence[int]) -> list[AnyEdit]:
    """The patterns of a prompt's own run at some of its places, to be put into another's."""
    patterns = record_run(subject.model, subject.loaded.dictionary, list(subject.ids(text))).recording.patterns
    return [
        PatternEdit(
            op="patch", heads=((layer, head),), positions=(at,), keys=tuple(range(at + 1)),
            donor=tuple(patterns[layer][head, at, : at + 1].tolist()),
        )
        for layer in range(subject.model.n_layers) for head in range(subject.model.n_heads) for at in positions
    ]  # fmt: skip


def _inactive(trial: Trial, setting: Setting, one: GraphOfPrompt) -> float:
    held = trial.held(setting.place)[:, trial.tested.index(one.pair)]
    unseen = whole = 0.0
    for layer, amount in trial.amounts(one.pair, setting)[setting.place].items():
        written = amount.abs() * trial.carrier.size(layer)
        fires = trial.carrier.components(layer, held[layer][None])[0] != 0
        whole += float(written.sum())
        unseen += float(written[~fires].sum())
    return unseen / whole if whole > 0 else 0.0


def _split(trial: Trial, setting: Setting, one: GraphOfPrompt) -> float:
    means, graph = trial.means(setting.place), one.graph
    mine = means.labels == means.values.index(one.pair.base.value)
    at = trial.subject.position(one.pair.base, setting.place)
    reached = graph.influence().double()
    finer = whole = 0.0
    for layer in range(setting.window[0], setting.window[1] + 1):
        here = graph.nodes.is_kind("feature") & (graph.nodes.position == at) & (graph.nodes.layer == layer)
        nodes = here.nonzero().flatten()
        if not len(nodes):
            continue
        units = graph.nodes.feature[nodes].long()
        fires = (trial.carrier.components(layer, means.inputs[layer][mine])[:, units] != 0).double().mean(0)
        whole += float(reached[nodes].sum())
        finer += float(reached[nodes][fires < COMMON].sum())
    return finer / whole if whole > 0 else 0.0
