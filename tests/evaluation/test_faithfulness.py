"""Faithfulness: figures against slow ways to the same, and replacements that have the mechanism, or cannot."""

import json

import numpy as np
import pytest

from silverstain.bases.substitutes import GivenSubstitute
from silverstain.errors import UsageError
from silverstain.evaluation.calibration import calibrated, passed_on_by_distance
from silverstain.evaluation.faithfulness import (
    NO_FAMILIES,
    FaithfulnessReport,
    faithfulness_report,
    unseen_edits,
)
from silverstain.loading import ReplacementModel
from silverstain.verification import verify
from silverstain.verification.doses import Response, dose_responses
from silverstain.verification.graph_run import graph_run
from silverstain.verification.perturbations import Passing

PROMPTS = [
    ("one", "the capital of the state containing dallas is"), ("two", "the state containing dallas is"),
    ("one", "the capital of the state is"), ("two", "the capital is"),
]  # fmt: skip
FAMILIES = [PROMPTS[0], ("one", PROMPTS[1][1]), ("two", PROMPTS[2][1]), PROMPTS[3]]


def report(loaded: ReplacementModel, prompts: list, **settings: int) -> FaithfulnessReport:
    return faithfulness_report(loaded.model, loaded.dictionary, prompts, **settings)


def test_slope_and_r2_are_those_of_all_pairs_and_intervals_hold_whole_prompts():
    draw = np.random.default_rng(0)
    found = []
    for prompt in range(6):
        predicted = draw.normal(size=5 + prompt)
        measured = (0.5 + 0.3 * prompt) * predicted + 0.1
        found.append([Response(kind="node → logit", strength=-1.0, predicted=p, measured=m)
                      for p, m in zip(predicted, measured, strict=True)])  # fmt: skip
    (one,) = calibrated(found)
    predicted, measured = (np.array([getattr(r, name) for some in found for r in some]) for name in
                           ("predicted", "measured"))  # fmt: skip
    assert one.slope.value == pytest.approx(np.polyfit(predicted, measured, 1)[0])
    spread = len(measured) * measured.var()
    assert one.r2.value == pytest.approx(1 - ((measured - predicted) ** 2).sum() / spread)
    assert one.n == len(predicted)
    low, high = one.slope.interval
    assert 0.5 < low < one.slope.value < high < 2
    (flat,) = calibrated([[Response(kind="node → logit", strength=0.0, predicted=1.0, measured=2.0)] * 3] * 2)
    assert np.isnan(flat.slope.value)


def test_a_prompt_without_changes_of_a_way_counts_for_nothing():
    def one(cosine: float, error: float) -> Passing:
        return Passing(way="random", layer=0, distance=1, cosine=cosine, error=error, cosine_frozen=0.0,
                       error_frozen=0.0)  # fmt: skip

    (row,) = passed_on_by_distance([[one(0.9, 0.1), one(0.5, 0.4)], [], [one(0.7, 0.1)]])
    assert (row.n, row.cosine.value, row.median_cosine.value) == (3, pytest.approx(0.7), pytest.approx(0.7))
    assert row.error.value == pytest.approx(0.2)
    assert row.cosine.interval == pytest.approx((0.7, 0.7)), "both prompts have this mean"


def test_doses_are_those_of_verify(loaded: ReplacementModel):
    graph = loaded.trace(PROMPTS[0][1]).prune()
    found = dose_responses(graph_run(loaded.model, loaded.dictionary, graph), max_sources=6)
    claims = verify(loaded.model, loaded.dictionary, graph, max_sources=6, max_claims=10_000).claims
    expected = sorted((c.kind, d.strength, d.predicted, d.measured) for c in claims for d in c.doses)
    assert expected
    for one, other in zip(sorted((r.kind, r.strength, r.predicted, r.measured) for r in found), expected, strict=True):
        assert one[:2] == other[:2]
        assert one[2:] == pytest.approx(other[2:], rel=1e-4, abs=1e-6)


def test_the_report_says_what_it_has_and_what_it_leaves_out(loaded: ReplacementModel):
    found = report(loaded, PROMPTS, n_prompts=2, n_edits=4)
    assert (found.n_prompts, found.notes) == (2, ())
    assert found.edits is not None
    assert found.foreign_edits is not None
    assert {one.way for one in found.passed_on} == {"encoder", "random", "feature"}
    assert {one.distance for one in found.passed_on} == {1}, "two layers: the final norm is one MLP on"
    said = json.loads(json.dumps(found.to_json()))
    assert said["format"] == "silverstain.faithfulness/1"
    assert said["doses"][0].keys() == {"kind", "strength", "n", "slope", "r2"}
    assert set(said["passed_on"][0]["cosine"]) == {"value", "interval"}
    assert found == report(loaded, PROMPTS, n_prompts=2, n_edits=4)
    plain = faithfulness_report(
        loaded.model, loaded.dictionary, [("", prompt) for _, prompt in PROMPTS], n_prompts=2, n_edits=4
    )
    assert plain.foreign_edits is None
    assert NO_FAMILIES in plain.notes
    assert report(loaded, PROMPTS, n_prompts=2, n_edits=0).edits is None


def test_a_prompt_in_which_nothing_can_be_moved_is_left_out(loaded: ReplacementModel):
    short = ("", [0])
    found = report(loaded, [*PROMPTS[:2], short], n_prompts=3, n_edits=0)
    assert found.n_prompts == 2
    assert found.notes == ("1 prompts are left out: nothing can be moved in a graph without features and errors",)
    with pytest.raises(UsageError, match="2 of 3 prompts have graphs without features and errors"):
        report(loaded, [PROMPTS[0], short, short], n_prompts=3, n_edits=0)


def test_too_few_prompts_are_refused_before_anything_runs(loaded: ReplacementModel):
    with pytest.raises(UsageError, match="an interval over prompts needs at least 2"):
        report(loaded, PROMPTS[:1])
    with pytest.raises(UsageError, match="the family 'two' has one prompt"):
        report(loaded, PROMPTS[:3])


# unseen edits


def test_a_perfect_replacement_agrees_under_every_edit(loaded: ReplacementModel, monkeypatch: pytest.MonkeyPatch):
    class Real:
        n_layers = loaded.model.n_layers

        def writes(self, layer, x, token_ids):
            mlp = loaded.model.mlp(layer)
            return type(mlp).forward(mlp, x)[:, None]

    imitation = unseen_edits(loaded.model, loaded.dictionary, FAMILIES, n=20)
    monkeypatch.setattr("silverstain.bases.replaced.as_substitute", lambda _: GivenSubstitute(Real()))
    perfect = unseen_edits(loaded.model, loaded.dictionary, FAMILIES, n=20)
    assert perfect.agreement == 1
    assert perfect.kl < 1e-6
    assert imitation.kl > 1e-3, "random features are no replacement"


def test_the_same_seed_makes_the_same_edits(loaded: ReplacementModel):
    first, again, other = (unseen_edits(loaded.model, loaded.dictionary, FAMILIES, n=8, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_exchange_needs_two_prompts_of_a_family(loaded: ReplacementModel):
    with pytest.raises(UsageError, match="the family 'one' has one prompt"):
        unseen_edits(loaded.model, loaded.dictionary, FAMILIES[:1], n=1)
    assert unseen_edits(loaded.model, loaded.dictionary, [FAMILIES[0], FAMILIES[2]], n=2, within=False).n == 2
