"""A graph told in plain sentences, each with the groups it is about and the numbers it rests on.

Nothing is drawn and no model writes: the same graph and groups give the same words. A sentence is told only where its
figure is above what the constants say, and what the graph does not explain is told as well.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from silverstain.brief import brief
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.contrast import contrast_of
from silverstain.graphs.influence import influence
from silverstain.graphs.kinds import ATTENTION
from silverstain.graphs.naming import attention_in_words
from silverstain.graphs.profiles import word_names
from silverstain.graphs.roles import ONE_WAY, find_roles, nothing_to_read
from silverstain.graphs.scores import scores
from silverstain.graphs.signs import directions
from silverstain.graphs.story import Story
from silverstain.graphs.supernodes import Group, collapse
from silverstain.graphs.trust import trust_in
from silverstain.printable import printable

MOST_GROUPS, MOST_HEADS, MOST_GIVEN = 6, 3, 3
TOLD = 0.01
"""Of all influence: a group with less is not told of."""
GIVES = 0.1
"""Of a group's input: another that gives less is not named."""
LONGEST = 80


@brief
@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One statement, and what it rests on."""

    about: str
    """what: prompt, differs, reads, group, heads, writes, tested or left."""
    text: str
    groups: tuple[str, ...] = ()
    """Labels of the groups it is about."""
    numbers: tuple[tuple[str, float], ...] = ()
    """Each figure in it, and what it is."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"numbers": dict(self.numbers)}


@brief
@dataclass(frozen=True, kw_only=True)
class Account:
    """All of it, in the order in which it is told. All text is fit to be shown in a terminal."""

    title: str
    sentences: tuple[Sentence, ...]

    def __str__(self) -> str:
        return "\n".join([self.title, "", *(f"{one.text}" for one in self.sentences)])

    def markdown(self) -> str:
        """A heading and a list."""
        lines = [f"- {_in_markdown(one.text)}" for one in self.sentences]
        return "\n".join([f"# {_in_markdown(self.title)}", "", *lines]) + "\n"

    def html(self) -> str:
        """A fragment; what strangers wrote is escaped, and the figures stand behind each sentence as its title."""
        from html import escape

        rows = []
        for one in self.sentences:
            figures = "; ".join(f"{name} {value:.4g}" for name, value in one.numbers)
            rows.append(f'<p class="{escape(one.about)}" title="{escape(figures)}">{escape(one.text)}</p>')
        return f"<section><h2>{escape(self.title)}</h2>{''.join(rows)}</section>"

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "sentences": [one.to_json() for one in self.sentences]}


def account_of(graph: GraphArrays, story: Story | None = None) -> Account:
    """The graph told with the story's groups, or where it has none with those that its units' roles give."""
    story = story or Story()
    groups = [group for group in story.groups_in(graph) if any(graph.nodes.is_unit[list(group.members)].tolist())]
    if not groups:
        groups = find_roles(graph, labels=story.labels_in(graph.nodes)).groups
    groups = [Group(label=_shown(group.label), kind=group.kind, members=group.members) for group in groups]
    said = contrast_of(graph.meta, graph.target_names)
    told = [*_opening(graph), *_groups(graph, groups), *_heads(graph), *_tested(story), *_left(graph)]
    title = _shown(graph.meta.get("prompt") or "a graph")
    if said is not None:
        title = f"{said.base.line()} | {said.contrast.line()}"
    return Account(title=title, sentences=tuple(told))


def _opening(graph: GraphArrays) -> list[Sentence]:
    """What is explained."""
    names = [_shown(name) for name in graph.target_names]
    said = contrast_of(graph.meta, graph.target_names)
    if said is not None:
        facts = graph.meta["contrast"]
        words = word_names(graph)
        changed = [_shown(words[at]) for at in facts["changed"][:MOST_GIVEN] if at < len(words)]
        return [
            Sentence(
                about="differs",
                text=f"The prompts differ at {_listed(changed)}; what is explained is {said.explained}.",
                numbers=(("base", float(facts["base"])), ("contrast", float(facts["contrast"]))),
            )
        ]  # fmt: skip
    known = [(name, p) for name, p in zip(names, graph.target_probabilities, strict=True) if p is not None]
    if not known:
        return [Sentence(about="what", text=f"What is explained is {_listed(names[:MOST_GIVEN])}.")]
    best, probability = max(known, key=lambda one: one[1])
    more = f", beside {len(names) - 1} other answers" if len(names) > 1 else ""
    return [
        Sentence(
            about="what", text=f"The model says {best} with a probability of {_percent(probability)}{more}.",
            numbers=(("probability", float(probability)),),
        )
    ]  # fmt: skip


def _groups(graph: GraphArrays, groups: Sequence[Group]) -> list[Sentence]:
    """The groups that carry most: what gives them their input, what they do to the answer, what they carry."""
    if not groups or not graph.n_edges:
        return []
    words = [_shown(word) for word in word_names(graph)]
    nodes = graph.nodes
    token_groups = [
        Group(label=words[int(nodes.position[node])], kind="token", members=(node,))
        for node in nodes.is_kind("token").nonzero().flatten().tolist()
    ]
    taken: set[int] = set()
    apart = []
    for group in groups:
        members = tuple(m for m in group.members if m not in taken and bool(nodes.is_unit[m]))
        taken |= set(members)
        if members:
            apart.append(Group(label=group.label, kind=group.kind, members=members))
    between = collapse(graph, [*apart, *token_groups])
    ways = directions(graph, apart)
    told = []
    order = sorted(range(len(apart)), key=lambda i: (-float(between.shares[i]), i))
    for i in order[:MOST_GROUPS]:
        share = float(between.shares[i])
        if share < TOLD:
            break
        given = between.weights[i]
        best = given.abs().argsort(descending=True, stable=True)[:MOST_GIVEN].tolist()
        best = [j for j in best if abs(float(given[j])) >= GIVES]
        sources = _listed([f"{between.groups[j].label} ({_signed(float(given[j]))})" for j in best])
        way = "raises" if ways[i] >= ONE_WAY else "lowers" if ways[i] <= -ONE_WAY else "moves both ways"
        reads = f"is driven by {sources}" if best else "is driven by many things a little"
        layer = nodes.layer[list(apart[i].members)]
        low, high = int(layer.min()), int(layer.max())
        layers = f"layer {low}" if low == high else f"layers {low} to {high}"
        n = len(apart[i].members)
        told.append(
            Sentence(
                about="group",
                text=f"“{apart[i].label}” ({n} unit{'s' * (n != 1)}, {layers}) {reads} and {way} the answer; "
                f"it carries {_percent(share)} of the influence.",
                groups=(apart[i].label, *(between.groups[j].label for j in best if j < len(apart))),
                numbers=(("share", share), ("direction", ways[i]),
                         *((between.groups[j].label, float(given[j])) for j in best)),
            )
        )  # fmt: skip
    return told


def _heads(graph: GraphArrays) -> list[Sentence]:
    """Of a contrast: the heads that look elsewhere, most influential first."""
    nodes = graph.nodes
    reached = influence(graph)
    is_head = (nodes.kind == ATTENTION) & (nodes.feature >= 0)
    if not bool(is_head.any()):
        return []
    weight = torch.where(is_head, reached, 0.0)
    best = weight.argsort(descending=True, stable=True)[:MOST_HEADS].tolist()
    whole = float(reached.sum())
    shares = [float(weight[node]) / whole for node in best if whole > 0]
    said = [f"{attention_in_words(graph, node)} ({_percent(share)})" for node, share in zip(best, shares, strict=False)]
    all_of_it = float(weight.sum()) / whole if whole > 0 else 0.0
    text = f"Attention that moved carries {_percent(all_of_it)} of the influence, most of all {_listed(said)}."
    return [Sentence(about="heads", text=text, numbers=(("share", all_of_it), *zip(said, shares, strict=True)))]


def _tested(story: Story) -> list[Sentence]:
    """What intervening on the model said of the graph."""
    out = []
    for entry in story.evidence:
        verdicts = entry.get("verdicts")
        if entry.get("kind") == "verification" and isinstance(verdicts, dict):
            counts = [(str(name), float(n)) for name, n in verdicts.items() if n]
            said = _listed([f"{int(n)} {_shown(name)}" for name, n in counts])
            out.append(
                Sentence(about="tested", text=f"Tested on the model, of its claims {said}.", numbers=tuple(counts))
            )
    return out or [Sentence(about="tested", text="None of this has been tested on the model: silverstain verify.")]


def _left(graph: GraphArrays) -> list[Sentence]:
    """What the graph does not explain."""
    if remark := nothing_to_read(graph):
        return [Sentence(about="left", text=f"There is nothing to read here: {remark}.")]
    found = scores(graph)
    trust = trust_in(found, has_edges=graph.n_edges > 0, is_rest=bool(graph.meta.get("rest")))
    return [Sentence(about="left", text=f"{trust.line}.", numbers=(("replacement", found.replacement),))]


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return parts[0] if parts else "nothing"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _shown(text: object) -> str:
    return printable(" ".join(str(text).split()) or "?", LONGEST)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _signed(share: float) -> str:
    return f"{100 * share:+.0f} %".replace("-", "−")


def _in_markdown(text: str) -> str:
    """Text that Markdown does not read as its own signs, nor a page as HTML."""
    for sign in "\\`*_[]<>#|":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return text
