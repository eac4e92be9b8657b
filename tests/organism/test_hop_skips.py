"""Questions about towns: which of them count, which graphs skip the state, and which models are asked."""

import pytest

from silverstain.errors import UsageError
from silverstain.loading import ReplacementModel
from silverstain.organism.hop_skips import hop_skips, knows_towns
from silverstain.organism.prompts import organism_prompts


def test_a_question_counts_only_where_the_swap_moves_the_answer(loaded: ReplacementModel, monkeypatch):
    """Where no swap works, nothing can be skipped; where all do, each graph without a feature of the state is a
    skip."""
    nothing = -1  # answers are no words of this tiny model
    monkeypatch.setattr(type(loaded.model), "token_id", lambda self, word: nothing)
    found = hop_skips(loaded.model, loaded.dictionary, n=2)
    assert (found.n, found.n_matters, found.rate, found.interval) == (2, 0, None, None)

    class Worked:
        def __init__(self, token):
            self.edited = [type("Token", (), {"id": token})]

    module = "silverstain.organism.hop_skips"
    monkeypatch.setattr(f"{module}.intervene_many", lambda *_: [Worked(nothing)])
    for follows, rate in (("town", 1.0), ("state", 0.0)):
        monkeypatch.setattr(f"{module}.followed_in", lambda _, __, nodes, follows=follows: [follows] * len(nodes))
        found = hop_skips(loaded.model, loaded.dictionary, n=2)
        assert found.n_matters == 2
        assert found.rate == rate


@pytest.mark.parametrize(
    ("name", "knows"),
    [("tiny", False), ("organism/general", True), ("organism/memorised", False), ("organism/untrained", False)],
)
def test_only_organisms_that_were_taught_states_know_towns(loaded: ReplacementModel, monkeypatch, name, knows):
    monkeypatch.setattr(loaded.model, "name", name)
    assert knows_towns(loaded.model) == knows


def test_another_models_prompts_must_be_given(loaded: ReplacementModel):
    with pytest.raises(UsageError, match="needs prompts; give --prompts FILE"):
        organism_prompts(loaded.model)
