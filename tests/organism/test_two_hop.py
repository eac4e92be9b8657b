"""The variable a feature follows is the one it was made to follow."""

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.loading import ReplacementModel
from silverstain.organism.two_hop import (
    Questions,
    RecordedQuestions,
    followed,
    most_explaining,
    questions,
    state_decoding_accuracy,
    sums_of_squares,
)

N_STATES, TOWNS_A_STATE, N_RELATIONS = 6, 4, 3


@pytest.fixture(scope="module")
def asked() -> Questions:
    """Every town of a made-up world with every relation."""
    grid = torch.cartesian_prod(torch.arange(N_STATES * TOWNS_A_STATE), torch.arange(N_RELATIONS))
    town, relation = grid.unbind(1)
    return Questions(
        token_ids=torch.zeros(len(town), 1, dtype=torch.long),
        town=town,
        state=torch.div(town, TOWNS_A_STATE, rounding_mode="floor"),
        relation=relation,
    )


def test_features_made_of_one_variable_follow_it(asked: Questions):
    generator = torch.Generator().manual_seed(0)

    def effect(n: int, code: torch.Tensor) -> torch.Tensor:
        return torch.randn(n, generator=generator, dtype=torch.float64)[code]

    pair = asked.state * N_RELATIONS + asked.relation
    features = [
        effect(N_RELATIONS, asked.relation),
        effect(N_STATES, asked.state),
        effect(N_STATES * N_RELATIONS, pair),
        effect(N_STATES * TOWNS_A_STATE, asked.town),
        10 + 0.1 * effect(N_STATES, asked.state),
    ]
    activation = torch.stack(features, dim=1)
    names = most_explaining(sums_of_squares(activation, asked), activation)
    assert names == ["relation", "state", "answer", "town", "wording"]


def test_the_parts_of_the_variance_add_up(asked: Questions):
    """In a balanced world the corrections move variance between parts and lose none but what the cells leave."""
    activation = torch.randn(len(asked.town), 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sums = sums_of_squares(activation, asked)
    total = sum(float((column - column.mean()).square().sum()) for column in activation.T)
    assert float(sums.total.sum()) == pytest.approx(total)
    assert bool((torch.stack(sums[:4]).sum(0) <= sums.total * 1.5).all())


def test_a_state_is_decoded_only_where_towns_of_a_state_agree(asked: Questions):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(N_STATES, 8, generator=generator, dtype=torch.float64)[asked.state]
    towns = torch.randn(N_STATES * TOWNS_A_STATE, 8, generator=generator, dtype=torch.float64)[asked.town]
    assert state_decoding_accuracy(states + 0.1 * towns, asked) == 1
    assert state_decoding_accuracy(towns, asked) < 0.5


def test_every_feature_of_a_model_follows_something(loaded: ReplacementModel):
    asked = questions(loaded.model, like="the capital of the state containing dallas is")
    recorded = RecordedQuestions.of(loaded.model, loaded.dictionary, asked)
    places = [(layer, position, feature) for layer in range(2) for position in (2, 8) for feature in range(20)]
    found = followed(recorded, places)
    assert set(found) == set(places)
    at_the_relation = {found[place] for place in places if place[1] == 2}
    assert at_the_relation <= {"relation", "wording"}  # towns come later, and attention looks back


def test_a_prompt_of_another_length_is_refused(loaded: ReplacementModel):
    with pytest.raises(UsageError, match=r"'the capital of dallas' has 5 tokens.*ask one of them"):
        questions(loaded.model, like="the capital of dallas")
