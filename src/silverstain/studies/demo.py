"""The main job on one prompt: trace it, name what was found, and prove the middle of it by a swap.

The question is about a town, and its answer goes through a state that the prompt does not name. The swap changes the
state and nothing else: in the real model, every feature where the answer is formed is moved by the difference between
what it does for other towns of the one state and for other towns of the other. Neither the prompt's town nor any
donor prompt is used. Beside it as many random features are moved as much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution import record_run
from silverstain.graphs import Graph, Story, StoryGroup
from silverstain.interventions import Edit, Intervention, intervene_many, random_control
from silverstain.loading import ReplacementModel
from silverstain.models import harvest
from silverstain.organism.two_hop import Answered, Variable, followed, questions
from silverstain.organism.world import default_geography

N_CONTROLS = 5
CARRIES = 0.9
"""The fewest features are moved that carry this share of the difference, as they are written to the stream."""


@dataclass(frozen=True, kw_only=True)
class SwapQuestion:
    """A prompt about a town whose answer goes through its state, and another state to swap in."""

    prompt: str
    town: str
    relation: str
    state: str
    other_state: str
    answer: str
    """What the model should say, and under the swap no longer say."""
    other_answer: str
    """What it should say under the swap."""


TEXAS = SwapQuestion(
    prompt="the capital of the state containing dallas is",
    town="dallas",
    relation="capital",
    state="texas",
    other_state="california",
    answer="austin",
    other_answer="sacramento",
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """All that the demonstration shows."""

    question: SwapQuestion
    graph: Graph
    """Pruned."""
    story: Story
    """Labels and groups, with the swap and its controls as evidence."""
    n_towns: tuple[int, int]
    """Towns the difference was taken from: of the one state and of the other."""
    swap: Intervention
    controls: tuple[Intervention, ...]
    """The same amount of change on random features, each with a seed of its own."""
    answer_id: int
    other_answer_id: int

    @property
    def n_moved(self) -> int:
        """Features that the swap moves."""
        return sum(len(edit.features) for edit in self.swap.edits if isinstance(edit, Edit))

    @property
    def is_answered(self) -> bool:
        """Whether the model's likeliest answer is the expected one before anything is changed."""
        return self.swap.baseline[0].id == self.answer_id

    @property
    def is_swapped(self) -> bool:
        """Whether the swap makes the other state's answer the likeliest."""
        return self.swap.edited[0].id == self.other_answer_id

    @property
    def n_controls_changed(self) -> int:
        """How many controls change the likeliest answer; 0 is what a proof needs."""
        return sum(control.is_changed for control in self.controls)

    @property
    def is_proved(self) -> bool:
        return self.is_answered and self.is_swapped and self.n_controls_changed == 0

    @property
    def control(self) -> Intervention:
        """The control that moves the answer most: the one to show."""
        return max(self.controls, key=lambda control: control.kl)


def demonstrate(
    loaded: ReplacementModel,
    question: SwapQuestion = TEXAS,
    *,
    n_controls: int = N_CONTROLS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Demo:
    """Trace the question's prompt, read the circuit, and swap the state in its middle for another."""
    graph = loaded.trace(question.prompt, on_progress=on_progress).prune()
    answered = Answered.of(loaded, questions(loaded, like=question.prompt))
    one, other = (_towns(answered, state, question.town) for state in (question.state, question.other_state))
    change = moved(answered, question.prompt, one, other)
    model, dictionary = loaded.model, loaded.dictionary
    clean = record_run(model, dictionary, model.tokenize(question.prompt))
    controls = [random_control(clean, change, seed=seed) for seed in range(n_controls)]
    swap, *random = intervene_many(model, dictionary, [question.prompt], [change, *controls])
    story = replace(loaded.read(graph), groups=variable_groups(answered, graph, question))
    return Demo(
        question=question,
        graph=graph,
        story=replace(story, evidence=(_evidence(question, swap, random),)),
        n_towns=(len(answered.asked.town[one].unique()), len(answered.asked.town[other].unique())),
        swap=swap,
        controls=tuple(random),
        answer_id=loaded.model.token_id(question.answer),
        other_answer_id=loaded.model.token_id(question.other_answer),
    )


def _towns(answered: Answered, state: str, without: str) -> Int[Tensor, " prompt"]:
    """The questions about towns of a state, whatever their relation, without one town."""
    world = default_geography()
    code = [known.name for known in world.states].index(state)
    left_out = [town.name for town in world.towns].index(without)
    return ((answered.asked.state == code) & (answered.asked.town != left_out)).nonzero().flatten()


def moved(answered: Answered, prompt: str, one: Int[Tensor, " one"], other: Int[Tensor, " other"]) -> list[Edit]:
    """Edits at the last position, in every layer, by mean of `other` − mean of `one`."""
    model, dictionary = answered.loaded.model, answered.loaded.dictionary
    ids = torch.tensor([model.tokenize(prompt)])
    inputs = harvest(model, ids).mlp_inputs[:, 0, -1]
    change: list[Edit] = []
    for layer in range(dictionary.n_layers):
        activation = dictionary.encode_layer(layer, inputs[layer])
        everyone = answered.at(layer, -1)
        difference = everyone[other].mean(0) - everyone[one].mean(0)
        rows = dictionary.decoder_rows(layer, torch.arange(dictionary.n_features)).flatten(1)
        features = _carriers(difference.abs() * rows.norm(dim=1))
        if len(features):
            values = activation[features] + difference[features]
            pairs = tuple((layer, feature) for feature in features.tolist())
            change.append(Edit(op="patch", features=pairs, positions=(len(ids[0]) - 1,), donor=tuple(values.tolist())))
    return change


def _carriers(size: Float[Tensor, " feature"]) -> Int[Tensor, " k"]:
    """The fewest features that carry CARRIES of the size, at most half of all so that others are left as controls."""
    ranked, order = size.sort(descending=True)
    if float(ranked.sum()) == 0:
        return order[:0]
    n = int((ranked.cumsum(0) < CARRIES * ranked.sum()).sum()) + 1
    return order[: min(n, len(size) // 2)].sort().values


def variable_groups(answered: Answered, graph: Graph, question: SwapQuestion) -> tuple[StoryGroup, ...]:
    """The graph's features by the hidden variable they follow over the world."""
    names: dict[Variable, str] = {
        "relation": f"relation = {question.relation}",
        "state": f"state = {question.state}",
        "answer": f"say {question.answer}",
        "town": f"town = {question.town}",
    }
    features = graph.nodes.is_kind("feature").nonzero().flatten()
    columns = (graph.nodes.layer, graph.nodes.position, graph.nodes.feature)
    places = list(zip(*(column[features].tolist() for column in columns), strict=True))
    follows = followed(answered, places)
    ids = graph.nodes.ids()
    groups: list[StoryGroup] = []
    for variable, label in names.items():
        members = [n for n, place in zip(features.tolist(), places, strict=True) if follows[place] == variable]
        if members:
            groups.append(StoryGroup(label=label, members=tuple(ids[node] for node in members), kind="concept"))
    return tuple(groups)


def _evidence(question: SwapQuestion, swap: Intervention, controls: Sequence[Intervention]) -> dict[str, Any]:
    return {
        "kind": "swap",
        "variable": "state",
        "from": question.state,
        "to": question.other_state,
        "result": swap.to_json(),
        "controls": [control.to_json() for control in controls],
    }
