"""The main job on one prompt: trace it, name what was found, and prove the middle of it by a swap.

The hidden variable of the question (the state) is read off the prompt's own features and off a donor's, by what their
cards say. In the real model the prompt's are silenced and the donor's put in their place, as they fire in the donor;
beside it as many random features are changed as much.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from silverstain.errors import UsageError
from silverstain.features import places_of_kind
from silverstain.graphs import Graph, Story
from silverstain.interventions import Intervention, Place, Swap, intervene_many, random_control, swap_edits
from silverstain.models import record
from silverstain.replacement import ReplacementModel

STRENGTH = 1.0
"""The donor's activations are used as they are."""
N_CONTROLS = 5


@dataclass(frozen=True, kw_only=True)
class SwapQuestion:
    """A prompt whose answer goes through a hidden variable, and a donor in which it has another value."""

    prompt: str
    donor_prompt: str
    variable: str
    value: str
    donor_value: str
    answer: str
    """What the model should say, and under the swap no longer say."""
    donor_answer: str
    """What it should say under the swap."""


TEXAS = SwapQuestion(
    prompt="the capital of the state containing dallas is",
    donor_prompt="the capital of the state containing oakland is",
    variable="state",
    value="texas",
    donor_value="california",
    answer="austin",
    donor_answer="sacramento",
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """All that the demonstration shows."""

    question: SwapQuestion
    graph: Graph
    """Pruned."""
    story: Story
    """Labels and groups, with the swap and its controls as evidence."""
    silenced: tuple[Place, ...]
    inserted: tuple[Place, ...]
    swap: Intervention
    controls: tuple[Intervention, ...]
    """The same amount of change on random features, each with a seed of its own."""
    answer_id: int
    donor_answer_id: int

    @property
    def is_answered(self) -> bool:
        """Whether the model's likeliest answer is the expected one before anything is changed."""
        return self.swap.baseline[0].id == self.answer_id

    @property
    def is_swapped(self) -> bool:
        """Whether the swap makes the donor's answer the likeliest."""
        return self.swap.edited[0].id == self.donor_answer_id

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
    """Trace the question's prompt, read the circuit, and swap its hidden variable for the donor's.

    UsageError when the dictionary has no cards, or no feature stands for the variable in one of the prompts.
    """
    graph = loaded.trace(question.prompt, on_progress=on_progress).prune()
    silenced = places_of_variable(loaded, question.prompt, question.variable)
    inserted = places_of_variable(loaded, question.donor_prompt, question.variable)
    model, dictionary = loaded.model, loaded.dictionary
    change = swap_edits(
        model,
        dictionary,
        Swap(
            prompt=question.prompt,
            donor_prompt=question.donor_prompt,
            own=silenced,
            donated=inserted,
            positions=_from_the_end(model.tokenize(question.donor_prompt), model.tokenize(question.prompt)),
            strength=STRENGTH,
        ),
    )
    random = [random_control(model, dictionary, question.prompt, change, seed=seed) for seed in range(n_controls)]
    swap, *controls = intervene_many(model, dictionary, [question.prompt], [change, *random])
    story = loaded.read(graph)
    return Demo(
        question=question,
        graph=graph,
        story=replace(story, evidence=(*story.evidence, _evidence(question, swap, controls))),
        silenced=tuple(silenced),
        inserted=tuple(inserted),
        swap=swap,
        controls=tuple(controls),
        answer_id=model.token_id(question.answer),
        donor_answer_id=model.token_id(question.donor_answer),
    )


def places_of_variable(loaded: ReplacementModel, prompt: str, variable: str) -> list[Place]:
    """(layer, position, feature) of the features that stand for a value of the variable and fire in the prompt."""
    if loaded.cards is None:
        raise UsageError(
            f"the dictionary {loaded.dictionary.name} has no feature cards, so no feature has a name; describe it: "
            "silverstain organism grow --what cards"
        )
    recording = record(loaded.model, loaded.model.tokenize(prompt))
    active = loaded.dictionary.encode(recording.mlp_inputs, n_real=loaded.model.n_real)
    places = places_of_kind(loaded.cards, active, variable)
    if not places:
        raise UsageError(f"no feature stands for {variable} in {prompt!r}; try another prompt or another dictionary")
    return places


def _from_the_end(donor: Sequence[int], prompt: Sequence[int]) -> Mapping[int, int]:
    """Donor position -> position counted alike from the end, so that towns of more or fewer pieces line up."""
    shift = len(prompt) - len(donor)
    return {position: max(position + shift, 0) for position in range(len(donor))}


def _evidence(question: SwapQuestion, swap: Intervention, controls: Sequence[Intervention]) -> dict[str, Any]:
    return {
        "kind": "swap",
        "variable": question.variable,
        "from": question.value,
        "to": question.donor_value,
        "donor_prompt": question.donor_prompt,
        "result": swap.to_json(),
        "controls": [control.to_json() for control in controls],
    }
