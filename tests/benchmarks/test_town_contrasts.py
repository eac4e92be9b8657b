"""Contrasts of towns: exchanges, accounts and swaps on three pairs say what a slower way says."""

import sys
from pathlib import Path

import pytest
import torch
from benchmarks.town_contrasts import (
    account_at,
    account_of_streams,
    agreement,
    contrast_of,
    draw_cases,
    layer_units,
    of_state,
    outputs,
    pearson,
    questions_of,
    sites_of,
    streams_of,
    swaps,
    unit_mean_differences,
)
from benchmarks.town_pairs import run
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

import silverstain
from benchmarks import town_contrasts
from silverstain.attribution.secant import Contrast
from silverstain.loading import ReplacementModel
from silverstain.organism.world import RELATIONS
from silverstain.statistics import moments


@pytest.fixture(scope="module")
def loaded() -> ReplacementModel:
    return silverstain.load("organism", dictionary="neurons")


@pytest.fixture(scope="module")
def found(loaded: ReplacementModel) -> town_contrasts.Outputs:
    return outputs(loaded.model, draw_cases(loaded.model, 3, "a test"))


@pytest.fixture(scope="module")
def contrasts(loaded: ReplacementModel, found: town_contrasts.Outputs) -> list[Contrast]:
    return [contrast_of(loaded.model, loaded.dictionary, case) for case in found.cases.cases]


def test_pairs_are_of_two_states_and_one_length_and_answered_rightly(found: town_contrasts.Outputs):
    cases = found.cases.cases
    assert [case.template for case in cases] == [0, 1, 0]
    assert len({len(ids) for case in cases for ids in case.token_ids}) == 1
    for i, case in enumerate(cases):
        assert case.towns[0].state is not case.towns[1].state
        assert case.token_ids[0][-1] == case.token_ids[1][-1]
        said = found.model.token_strings(found.clean[[i, i + len(cases)]].argmax(-1))
        assert said == [town.state.capital for town in case.towns]
        assert found.model.token_strings(list(case.answers)) == said
    again = draw_cases(found.model, 3, "a test")
    assert again == found.cases
    assert draw_cases(found.model, 3, "another") != again


def test_exchanging_m0_is_exchanging_the_stream_behind_the_first_block(found: town_contrasts.Outputs):
    streams = streams_of(found.model)
    assert list(streams) == ["m0", "r1", "r2", "r3", "r4"]
    m0, r1, last = (found.exchanged([streams[name]]) for name in ("m0", "r1", "r4"))
    torch.testing.assert_close(m0, r1, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(last, found.clean[found.partner], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.exchanged([]), found.clean)
    assert found.turned(last) == [True] * 3
    assert found.turned(found.clean) == [False] * 3
    torch.testing.assert_close(found.effects(last), found.whole.expand(3, 3), rtol=1e-4, atol=1e-4)


def test_patching_all_neurons_of_a_layer_there_is_exchanging_its_mlp(
    found: town_contrasts.Outputs, contrasts: list[Contrast]
):
    by_units = [layer_units(contrast) for contrast in contrasts]
    for layer in range(found.model.n_layers):
        effects = found.effects(found.exchanged([("mlp", layer)]))
        patched = torch.tensor([one["measured"][layer] for one in by_units]).T
        torch.testing.assert_close(patched, effects, rtol=1e-3, atol=1e-3)


def test_gradients_expect_what_a_small_step_does(found: town_contrasts.Outputs):
    sites = sites_of(found.model)
    expected = found.gradient_effects(sites)
    for site, one in zip(sites, expected, strict=True):
        step = 1e-2 * (found.at[site][found.partner] - found.at[site])
        with torch.no_grad():
            up, down = (run(found.model, found.cases.ids, {site: lambda out, by=by: out + by}) for by in (step, -step))
        slope = (found.values(up) - found.values(down)) / 2e-2
        torch.testing.assert_close(torch.stack([slope[0], -slope[1]]), one[:2], rtol=0.02, atol=0.02)


def test_the_account_of_outputs_and_streams_is_that_of_what_they_are_made_of(contrasts: list[Contrast]):
    for contrast in contrasts:
        sites = sites_of(contrast.model)
        found = dict(zip(sites, account_at(contrast, sites), strict=True))
        m0, r1, *_ = account_of_streams(contrast)
        whole = float(contrast.changes[0])
        assert m0 == found["attention", 0]
        assert r1 == pytest.approx(m0, rel=1e-4), "in neurons an MLP at one position hands on all it is given"
        for layer, account in enumerate(layer_units(contrast)["account"]):
            assert account == pytest.approx(found["mlp", layer], abs=1e-4 * abs(whole))


def test_more_units_than_there_are_is_all_of_them_and_all_neurons_are_all_mlps(
    found: town_contrasts.Outputs, contrasts: list[Contrast]
):
    every = found.turned(found.exchanged([("mlp", layer) for layer in range(found.model.n_layers)]))
    for contrast, case, turned in zip(contrasts, found.cases.cases, every, strict=True):
        swapped = swaps(contrast, case.answers[1], seed=0)
        assert list(swapped) == ["signed", "absolute", "largest change", "random"]
        for of_order in swapped.values():
            assert [of_order[k]["units"] for k in ("10", "20", "50", "100")] == [10, 20, 50, 100]
        assert swapped["absolute"]["all"] == {"turned": turned, "units": 4 * 384}
        assert swapped["random"]["all"] == swapped["absolute"]["all"]
        assert swapped["signed"]["all"]["units"] < 4 * 384


def test_questions_are_about_all_towns_of_the_states(loaded: ReplacementModel, found: town_contrasts.Outputs):
    questions = questions_of(found.cases, loaded.model)
    assert list(questions) == [0, 1]
    every, (town, other) = questions[1], found.cases.cases[1].towns
    (row,) = every.rows([town], ["bird"]).tolist()
    text = loaded.model.tokenizer.decode(every.token_ids[row].tolist()[1:])
    assert text.replace(" ##", "") == f"{town.name} belongs to a state with the bird"
    assert {one.state for one in of_state(town)} == {town.state}
    for some in (town, other):
        assert len(every.rows(of_state(some), RELATIONS)) == 4 * len(RELATIONS)


def test_units_are_moved_to_their_mean_over_the_other_state(
    loaded: ReplacementModel, found: town_contrasts.Outputs, monkeypatch: pytest.MonkeyPatch
):
    """Where the town alone stands for the other state, nothing is moved."""
    questions = questions_of(found.cases, loaded.model)
    moved = unit_mean_differences(found, loaded.dictionary, questions)
    assert moved["through the state"]["units"] == [4 * 384] * 3
    assert moved["behind the first block"]["units"] == [3 * 384] * 3
    firsts = {case.towns[1].name: case.towns[0] for case in found.cases.cases}
    monkeypatch.setattr(town_contrasts, "of_state", lambda town: [firsts[town.name]])
    still = unit_mean_differences(found, loaded.dictionary, questions)
    assert still["through the state"] == {"turned": [False] * 3, "units": [0] * 3}


def test_agreement_is_that_of_scipy():
    draw = torch.Generator().manual_seed(0)
    predicted = torch.randn(4, 30, generator=draw).cumsum(0)
    measured: Tensor = predicted + torch.randn(4, 30, generator=draw)
    found = agreement(predicted, measured)
    assert found["pearson"]["value"] == pytest.approx(pearsonr(predicted.flatten(), measured.flatten())[0])
    assert found["spearman"]["value"] == pytest.approx(spearmanr(predicted.flatten(), measured.flatten())[0])
    assert found["pearson"]["low"] < found["pearson"]["value"] < found["pearson"]["high"]
    assert found["spearman_at_each_site"][2] == pytest.approx(spearmanr(predicted[2], measured[2])[0])
    in_pairs = [float(spearmanr(p, m)[0]) for p, m in zip(predicted.T, measured.T, strict=True)]
    assert found["mean_spearman_in_a_pair"] == pytest.approx(sum(in_pairs) / 30)
    assert float(pearson(moments(predicted[0], -predicted[0])[None])) == pytest.approx(-1)
    assert agreement(torch.ones(2, 5), torch.rand(2, 5, generator=draw))["mean_spearman_in_a_pair"] is None


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    out = tmp_path / "towns.json"
    monkeypatch.setattr(town_contrasts, "BASES", ("cross-layer",))
    monkeypatch.setattr(sys, "argv", ["town_contrasts.py", "--pairs", "3", "--out", str(out)])
    town_contrasts.main()
    first, said = out.read_text(), capsys.readouterr().out
    assert "3 pairs" in said
    assert "NaN" not in first
    monkeypatch.setattr(town_contrasts, "measure_basis", lambda *_: pytest.fail("it was measured already"))
    town_contrasts.main()
    assert out.read_text() == first
    assert capsys.readouterr().out in said
