"""The main job on one prompt: trace it, name what was found, and prove the middle of it by a swap.

The question is about a town, and its answer goes through a state that the prompt does not name. The swap changes the
state and nothing else: in the real model, the features that differ most where the answer is formed are moved by the
difference between what each does for other towns of the one state and for other towns of the other. Neither the
prompt's town nor any donor prompt is used. Beside it as many random features are moved as much, and as much the other
way; and other features that are active there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from silverstain.attribution import record_run
from silverstain.brief import brief
from silverstain.graphs import Graph, Story, StoryGroup
from silverstain.interventions import Edit, Intervention, intervene_many, random_control
from silverstain.loading import ReplacementModel
from silverstain.organism.swapping import state_swap_edits
from silverstain.organism.two_hop import RecordedQuestions, Variable, followed_in, questions

N_CONTROLS = 5
MOST_MOVED = 60
"""Features that the swap moves (`benchmarks/demo_swaps.py` compares it with all that differ)."""


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


@brief
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
    """The same amount of change on random features, each with a seed of its own, and each the other way."""
    active_controls: tuple[Intervention, ...]
    """The same amount of change on other features that are active there."""
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
    def n_active_controls_changed(self) -> int:
        """How many controls on other active features change the likeliest answer. These carry the answer too."""
        return sum(control.is_changed for control in self.active_controls)

    def lead(self, run: Intervention, *, edited: bool = True) -> float:
        """By how much the answer's logit leads the other answer's under a run's edits, or before them."""
        one, other = (run.probability(token)[int(edited)] for token in (self.answer_id, self.other_answer_id))
        return math.log(max(one, 1e-30)) - math.log(max(other, 1e-30))

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
    recorded = RecordedQuestions.of(loaded.model, loaded.trained, questions(loaded.model, like=question.prompt))
    one, other = (recorded.about(state, without=question.town) for state in (question.state, question.other_state))
    tried = swap_of(recorded, question, n_controls=n_controls)
    story = replace(loaded.read(graph), groups=variable_groups(recorded, graph, question))
    return Demo(
        question=question,
        graph=graph,
        story=replace(story, evidence=(_evidence(question, tried.swap, tried.controls),)),
        n_towns=(len(recorded.asked.town[one].unique()), len(recorded.asked.town[other].unique())),
        swap=tried.swap,
        controls=tried.controls,
        active_controls=tried.active_controls,
        answer_id=loaded.model.token_id(question.answer),
        other_answer_id=loaded.model.token_id(question.other_answer),
    )


class SwapTried(NamedTuple):
    """The swap of a question, and its controls, as `Demo` has them."""

    swap: Intervention
    controls: tuple[Intervention, ...]
    active_controls: tuple[Intervention, ...]


def swap_of(
    recorded: RecordedQuestions,
    question: SwapQuestion,
    *,
    most: int | None = MOST_MOVED,
    n_controls: int = N_CONTROLS,
) -> SwapTried:
    """Swap the state of a question, moving no more than `most` features, with controls beside it."""
    model, dictionary = recorded.model, recorded.dictionary
    one, other = (recorded.about(state, without=question.town) for state in (question.state, question.other_state))
    change = state_swap_edits(recorded, question.prompt, one, other, most=most)
    clean = record_run(model, dictionary, model.tokenize(question.prompt))
    controls = [
        random_control(clean, change, seed=seed, opposite=opposite)
        for seed in range(n_controls)
        for opposite in (False, True)
    ]
    active = [random_control(clean, change, seed=seed, among="active") for seed in range(n_controls)]
    swap, *rest = intervene_many(model, dictionary, [question.prompt], [change, *controls, *active])
    return SwapTried(swap, tuple(rest[: len(controls)]), tuple(rest[len(controls) :]))


def variable_groups(recorded: RecordedQuestions, graph: Graph, question: SwapQuestion) -> tuple[StoryGroup, ...]:
    """The graph's features by the hidden variable they follow over the world.

    The state's group is named for what it does, from town to state: most of its features fire for towns one by one, and
    only together do they hold a state that other towns share.
    """
    names: dict[Variable, str] = {
        "relation": f"relation = {question.relation}",
        "state": state_group(question),
        "answer": f"say {question.answer}",
        "town": f"town = {question.town}",
    }
    features = graph.nodes.is_kind("feature").nonzero().flatten()
    follows = followed_in(recorded, graph, features)
    ids = graph.nodes.ids()
    groups: list[StoryGroup] = []
    for variable, label in names.items():
        members = [node for node, name in zip(features.tolist(), follows, strict=True) if name == variable]
        if members:
            groups.append(StoryGroup(label=label, members=tuple(ids[node] for node in members), kind="concept"))
    return tuple(groups)


def state_group(question: SwapQuestion) -> str:
    """The name of the group that leads from the town to its state."""
    return f"{question.town} is in {question.state}"


def _evidence(question: SwapQuestion, swap: Intervention, controls: Sequence[Intervention]) -> dict[str, Any]:
    return {
        "kind": "swap",
        "variable": "state",
        "from": question.state,
        "to": question.other_state,
        "result": swap.to_json(),
        "controls": [control.to_json() for control in controls],
    }
