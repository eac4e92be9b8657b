"""Mechanism measured against replacements that have it, and that cannot."""

import pytest

from silverstain.errors import UsageError
from silverstain.evaluation.faithfulness import faithfulness, hop_skips, knows_towns, unseen_edits
from silverstain.loading import ReplacementModel

PROMPTS = [
    ("one", "the capital of the state containing dallas is"), ("one", "the state containing dallas is"),
    ("two", "the capital of the state is"), ("two", "the capital is"),
]  # fmt: skip


def test_a_perfect_replacement_agrees_under_every_edit(loaded: ReplacementModel, monkeypatch: pytest.MonkeyPatch):
    from silverstain.attribution import replacement

    class Real:
        n_layers = loaded.model.n_layers

        def writes(self, layer, x, token_ids):
            mlp = loaded.model.mlp(layer)
            return type(mlp).forward(mlp, x)[:, None]

    imitation = unseen_edits(loaded.model, loaded.dictionary, PROMPTS, n=20)
    monkeypatch.setattr(replacement, "as_substitute", lambda _: Real())
    perfect = unseen_edits(loaded.model, loaded.dictionary, PROMPTS, n=20)
    assert perfect.agreement == 1
    assert perfect.kl < 1e-6
    assert imitation.kl > 1e-3, "random features are no replacement"


def test_the_same_seed_makes_the_same_edits(loaded: ReplacementModel):
    first, again, other = (unseen_edits(loaded.model, loaded.dictionary, PROMPTS, n=8, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_exchange_needs_two_prompts_of_a_family(loaded: ReplacementModel):
    with pytest.raises(UsageError, match="the family 'one' has one prompt"):
        unseen_edits(loaded.model, loaded.dictionary, PROMPTS[:1], n=1)
    assert unseen_edits(loaded.model, loaded.dictionary, [PROMPTS[0], PROMPTS[2]], n=2, within=False).n == 2


def test_a_question_counts_only_where_the_swap_moves_the_answer(loaded: ReplacementModel, monkeypatch):
    """Where no swap works, nothing can be skipped; where all do, each graph without a feature of the state is a
    skip."""
    from silverstain.studies import faithfulness as module

    nothing = -1  # answers are no words of this tiny model
    monkeypatch.setattr(type(loaded.model), "token_id", lambda self, word: nothing)
    found = hop_skips(loaded, n=2)
    assert (found.n, found.n_matters, found.rate, found.interval) == (2, 0, None, None)

    class Worked:
        def __init__(self, token):
            self.edited = [type("Token", (), {"id": token})]

    monkeypatch.setattr(module, "intervene_many", lambda *_: [Worked(nothing)])
    for follows, rate in (("town", 1.0), ("state", 0.0)):
        monkeypatch.setattr(module, "followed", lambda _, places, follows=follows: dict.fromkeys(places, follows))
        found = hop_skips(loaded, n=2)
        assert found.n_matters == 2
        assert found.rate == rate


def test_a_model_without_geography_has_no_hops(loaded: ReplacementModel):
    found = faithfulness(loaded, PROMPTS, n=4)
    assert found.hops is None
    assert found.to_json()["edits"]["n"] == 4


@pytest.mark.parametrize(
    ("name", "knows"),
    [("tiny", False), ("organism/general", True), ("organism/memorised", False), ("organism/untrained", False)],
)
def test_only_organisms_that_were_taught_states_know_towns(loaded: ReplacementModel, monkeypatch, name, knows):
    monkeypatch.setattr(loaded.model, "name", name)
    assert knows_towns(loaded.model) == knows
