"""Both measures of a dictionary's mechanism together."""

from silverstain.loading import ReplacementModel
from silverstain.studies.faithfulness import faithfulness, hops_of

PROMPTS = [
    ("one", "the capital of the state containing dallas is"), ("one", "the state containing dallas is"),
    ("two", "the capital of the state is"), ("two", "the capital is"),
]  # fmt: skip


def test_a_model_without_geography_has_no_hops(loaded: ReplacementModel):
    found = faithfulness(loaded, PROMPTS, n=4)
    assert found.hops is None
    assert found.to_json()["edits"]["n"] == 4


def test_there_are_half_as_many_questions_as_edits(loaded: ReplacementModel, monkeypatch):
    monkeypatch.setattr(loaded.model, "name", "organism/general")
    monkeypatch.setattr(type(loaded.model), "token_id", lambda self, word: -1)  # answers are no words of this model
    found = hops_of(loaded, 4)
    assert found is not None
    assert found.n == 2
    assert hops_of(loaded, 0) is None
