"""The protocol of studies: bars and verdicts, steps that are kept, means and swaps, templates, reports."""

import dataclasses
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import silverstain
from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.interventions import intervene_many
from silverstain.loading import ReplacementModel
from silverstain.organism.composing.variables import variables as composing_variables
from silverstain.organism.families.entities import people
from silverstain.organism.siblings import siblings
from silverstain.organism.variables import variables
from silverstain.statistics import share_of
from silverstain.studies.catalogue import STUDIES, studies
from silverstain.studies.chain_of_thought import another_hint, chain_of, nearest
from silverstain.studies.entities import fact_of, recognition
from silverstain.studies.hidden_preference import HIDDEN_PREFERENCE, is_preferred, suspected, taken_over
from silverstain.studies.multilingual import concept_of, language_of, operation_in
from silverstain.studies.operand_templates import best_template
from silverstain.studies.organism_variables import case_of, knows, spec_of, subject_of, variable_of
from silverstain.studies.protocol import (
    LAST,
    Findings,
    Measure,
    Setting,
    StudyReport,
    StudySettings,
    Subject,
    Trial,
    TrialSettings,
    Units,
    run_study,
)
from silverstain.studies.protocol.carriers import fewest
from silverstain.studies.protocol.choosing import Shift, best_setting, sets_of
from silverstain.studies.protocol.controls import CONTROLS, controlled
from silverstain.studies.protocol.graph_paths import (
    developed,
    graphs_of,
    own_labels,
    shown_of_nonsense,
    where_shown,
)
from silverstain.studies.protocol.rules import verdict_of
from silverstain.studies.protocol.steps import Steps
from silverstain.studies.protocol.supernodes import auroc, supernodes
from silverstain.studies.protocol.trial import Outcome, share_of_hits
from silverstain.studies.protocol.values import measured
from silverstain.studies.publishing import Asking, askings, controls_line, row, verdicts_line
from silverstain.studies.reports import markdown, page, read_report, write_report
from silverstain.studies.reports.telling import figures_of
from silverstain.studies.two_hop import STATE_FORMS, TWO_HOP, cannot_be_guessed


@pytest.fixture(scope="module")
def organism() -> ReplacementModel:
    return silverstain.load()


@pytest.fixture(scope="module")
def subject(organism: ReplacementModel) -> Subject:
    return subject_of(organism)


@pytest.fixture(scope="module")
def state(subject: Subject, organism: ReplacementModel) -> Trial:
    assert subject.sibling is not None
    spec = spec_of(subject.sibling, "geography", "state", *STATE_FORMS)
    variable = variable_of(spec, places=("town", LAST), suits=cannot_be_guessed)
    return Trial(subject, Units(organism.dictionary), variable, TrialSettings(n=24, n_chosen_by=4))


AT_THE_END = Setting(places=(LAST,), window=(0, 3), strength=1.5)


def one(role: str, value: float | None, bar: float | None = None, **more: object) -> Measure:
    return Measure(name="x", about="", role=role, value=value, bar=bar, **more)  # type: ignore[arg-type]


# verdicts


GOOD = (one("gate", 1.0, 0.9), one("target", 0.9, 0.8), one("control", 0.0, 0.1), one("specificity", 0.9, 0.8))


@pytest.mark.parametrize(
    ("measures", "verdict"),
    [
        (GOOD, "pass"),
        ((one("gate", 0.5, 0.9), *GOOD[1:]), "not applicable"),
        ((one("gate", 0.5, 0.9), one("target", 0.0, 0.8)), "not applicable"),
        ((*GOOD, one("target", 0.5, 0.8)), "fail"),
        ((*GOOD, one("control", 0.2, 0.1)), "fail"),
        ((*GOOD, one("specificity", 0.7, 0.8)), "fail"),
        ((*GOOD, one("truth", 0.0, 1.0)), "fail"),
        ((*GOOD, one("reported", 0.0)), "pass"),
        ((*GOOD, one("control", 0.9, 0.1, untested="its own gate failed")), "pass"),
        ((GOOD[0], GOOD[1], one("control", 0.0, 0.1, untested="its own gate failed")), "undecided"),
        ((GOOD[0], GOOD[2]), "undecided"),
    ],
)
def test_the_verdict_follows_from_the_figures(measures: Sequence[Measure], verdict: str):
    assert verdict_of(measures)[0] == verdict


def test_a_reason_names_the_figure_and_its_bar():
    _, reasons = verdict_of((*GOOD, measured("the state swapped", "", "target", share_of(60, 100), bar=0.8)))
    assert reasons == ("the state swapped: 0.60 [0.50, 0.69] where it must be at least 0.80",)


def test_a_target_needs_the_lower_end_of_its_interval_too():
    few, many = (measured("x", "", "target", share_of(n, n), bar=0.8, low_bar=0.7) for n in (4, 40))
    assert few.holds is False
    assert many.holds is True


def test_findings_are_read_as_they_were_written():
    found = Findings(measures=GOOD, notes=("a",), chosen={"x": AT_THE_END.to_json()}, prompts=({"prompt": "p"},))
    assert Findings.from_json(json.loads(json.dumps(found.to_json()))) == found


# steps


def test_a_step_that_is_kept_is_not_run_again_and_another_run_does_not_find_it(tmp_path: Path):
    found = Findings(notes=("first",))

    def never() -> Findings:
        raise AssertionError("it was kept")

    assert Steps(tmp_path, {"seed": 0}).run("swaps", lambda: found) == found
    assert Steps(tmp_path, {"seed": 0}).run("swaps", never) == found
    assert Steps(tmp_path, {"seed": 1}).run("swaps", lambda: Findings(notes=("other",))).notes == ("other",)


# moving a variable


def test_no_combination_is_both_developed_on_and_tested(state: Trial):
    fitted = {case.combination for case in state.fitted}
    assert not fitted & {pair.base.combination for pair in state.tested}
    assert {pair.base.combination for pair in state.chosen_by} <= fitted | {p.base.combination for p in state.chosen_by}


def test_vectors_do_what_the_edits_of_the_units_do(state: Trial):
    pairs = state.tested[:6]
    position = [state.subject.position(pair.base, LAST) for pair in pairs]
    carrier = state.carrier
    assert isinstance(carrier, Units)
    by_unit = [
        carrier.unit_edits(state.amounts(p, AT_THE_END)[LAST], at) for p, at in zip(pairs, position, strict=True)
    ]
    runs = [
        intervene_many(state.subject.model, carrier.basis, [p.base.text for p in pairs], edits)
        for edits in ([state.edits(pair, AT_THE_END) for pair in pairs], by_unit)
    ]
    for vectors, units in zip(*runs, strict=True):
        torch.testing.assert_close(vectors.edited_logits, units.edited_logits, rtol=1e-4, atol=1e-4)


def test_the_base_s_own_combination_has_no_part_in_its_swap(state: Trial):
    pair = state.chosen_by[0]
    means = state.means(LAST)
    own = torch.tensor([name == pair.base.combination for name in means.combinations])
    mine = means.labels == means.values.index(pair.base.value)
    slow = means.carrier.components(1, means.inputs[1][mine & ~own]).mean(0)
    torch.testing.assert_close(means.of(pair.base.value, 1, frozenset({pair.base.combination})), slow)


def test_the_state_is_swapped_and_random_units_do_not_do_it(state: Trial):
    swapped = share_of_hits(state.swapped(state.tested, AT_THE_END))
    moved = share_of_hits(state.moved_otherwise(state.tested, AT_THE_END, "random"))
    assert swapped is not None
    assert moved is not None
    assert swapped.value > 0.7
    assert moved.value < 0.1


# where a variable is moved


def chosen_of(shifts: dict[tuple[str, ...], Shift], stronger: float = 0.0) -> Setting:
    """What is chosen where places differ and a stronger change adds so much probability for each of its multiples."""

    def shift(setting: Setting) -> Shift:
        moved, likelier, n = shifts[setting.places]
        return Shift(moved, likelier + stronger * setting.strength, n)

    return best_setting(sets_of(("a", "b")), ((0, 0), (0, 1)), shift)


def test_of_settings_that_move_nothing_the_one_that_comes_nearest_is_taken():
    found = chosen_of(
        {("a",): Shift(0, 0.01, 48), ("b",): Shift(0, 0.03, 48), ("a", "b"): Shift(0, 0.02, 48)}, stronger=0.1
    )
    assert found == Setting(places=("b",), window=(0, 0), strength=4.0)


def test_of_settings_that_move_as_many_surely_the_weakest_with_the_fewest_places_is_taken():
    found = chosen_of({("a",): Shift(0.5, 0.9, 48), ("b",): Shift(1, 0.95, 48), ("a", "b"): Shift(1, 0.99, 48)})
    assert found == Setting(places=("b",), window=(0, 0), strength=1.0)


def test_of_settings_as_weak_that_move_as_many_the_surest_is_taken():
    found = chosen_of({("a",): Shift(1, 0.1, 48), ("b",): Shift(0, 0, 48), ("a", "b"): Shift(1, 0.5, 48)}, stronger=0.2)
    assert found == Setting(places=("a", "b"), window=(0, 0), strength=1.0)


def strength_chosen(
    moved: dict[float, float], n: int, others: Callable[[Setting], float] = lambda setting: 0.0
) -> float:
    return best_setting([("a",)], ((0, 0),), lambda one: Shift(moved[one.strength], 0.5, n), others).strength


def test_a_stronger_change_is_taken_where_it_moves_more_than_chance_would():
    moved = {1.0: 0.6, 1.2: 0.7, 1.4: 0.75, 1.7: 0.8, 2.0: 0.92, 2.8: 0.93, 4.0: 0.94}
    assert strength_chosen(moved, 48) == 2.0
    assert strength_chosen(moved, 4000) == 4.0, "of many pairs the error is small"
    assert Shift(0.94, 0.5, 4000).error == pytest.approx(math.sqrt(0.94 * 0.06 / 4000), rel=0.01)
    assert Shift(1.0, 0.5, 48).error == pytest.approx(0.0267, abs=1e-4)


def test_a_weaker_change_is_taken_where_a_stronger_one_of_anything_moves_as_many():
    moved = {1.0: 0.8, 1.2: 0.9, 1.4: 0.95, 1.7: 0.95, 2.0: 0.95, 2.8: 0.95, 4.0: 0.95}
    by_others = {1.0: 0.0, 1.2: 0.12, 1.4: 0.3, 1.7: 0.3, 2.0: 0.4, 2.8: 0.4, 4.0: 0.5}
    assert strength_chosen(moved, 400) == 1.4
    assert strength_chosen(moved, 400, lambda one: by_others[one.strength]) == 1.0


def test_what_is_read_at_several_places_is_moved_at_all_of_them(state: Trial):
    pair, both = state.tested[0], Setting(places=("town", LAST), window=(0, 1), strength=1.5)
    town, last = (dataclasses.replace(both, places=(place,)) for place in both.places)
    assert state.edits(pair, both) == state.edits(pair, town) + state.edits(pair, last)
    assert state.put({LAST: {}, "town": state.amounts(pair, town)["town"]}, pair.base) == state.edits(pair, town)
    twice = dataclasses.replace(pair.base, spans={**pair.base.spans, "again": pair.base.spans["town"]})
    amounts = state.amounts(pair, town)["town"]
    assert state.put({"town": amounts, "again": amounts}, twice) == state.edits(pair, town), "one token is moved once"


def test_prompts_of_test_combinations_have_all_values_where_the_bases_have_one(subject: Subject):
    from silverstain.organism.families.refusal import NAME

    assert subject.sibling is not None
    spec = spec_of(subject.sibling, NAME, "forbidden")
    variable = variable_of(spec, suits=lambda pair: pair.base.value == "true")
    trial = Trial(subject, Units(subject.loaded.dictionary), variable, TrialSettings(n=24, n_chosen_by=4))
    assert {pair.base.value for pair in trial.tested} == {"true"}
    assert {case.value for case in trial.kept_back} == {"true", "false"}
    assert not {case.combination for case in trial.kept_back} & {case.combination for case in trial.fitted}
    assert [case.text for case in trial.kept_back[: len(trial.tested)]] == [pair.base.text for pair in trial.tested]


def test_nonsense_labels_say_nothing_of_the_true_ones(state: Trial):
    label, own = state.permuted(3), {case.combination: case.value for case in (*state.fitted, *state.kept_back)}
    assert label.keys() >= own.keys()
    values, dealt = sorted(set(own.values())), Counter(label.values())
    assert max(dealt.values()) - min(dealt.values()) <= 1
    for value in values:
        given = Counter(label[name] for name in own if own[name] == value)
        assert max(given.values()) - min(given.get(other, 0) for other in values) <= 1, (
            "each true value is dealt to all"
        )
    assert state.permuted(3) == label != state.permuted(4)


def test_controls_of_a_swap_that_moves_nothing_are_not_run(state: Trial):
    nothing = Setting(places=("town",), window=(3, 3), strength=0.0)

    def run(*_: object) -> list[Outcome]:
        raise AssertionError("a control is run where the swap moves nothing")

    found = controlled(state, nothing, [dataclasses.replace(CONTROLS[0], run=run)])
    assert [one.untested for one in found.measures] == ["the swap itself moves no more than a control may"] * 2
    assert [one.value for one in found.measures] == [None, None]
    assert not any(one.counts for one in found.measures)
    assert all(one.counts for one in controlled(state, AT_THE_END, CONTROLS[:1]).measures)


@pytest.mark.parametrize("kind", ["random", "opposite", "active"])
def test_what_is_moved_instead_is_elsewhere_and_written_as_long(state: Trial, kind: str):
    pair, carrier = state.tested[0], state.carrier
    assert isinstance(carrier, Units)
    own = state.amounts(pair, AT_THE_END)[LAST]
    others = carrier.others(own, state.held(LAST)[:, 0], 3, kind)
    for layer, moved in others.items():
        units = fewest(own[layer].abs() * carrier.size(layer))
        kept = torch.zeros_like(own[layer])
        kept[units] = own[layer][units]
        assert not bool(moved[units].any())
        lengths = [torch.einsum("f, ftd -> td", a, carrier._rows(layer)).norm() for a in (kept, moved)]
        torch.testing.assert_close(lengths[0], lengths[1], rtol=1e-3, atol=1e-4)


@given(seed=st.integers(0, 2**20))
def test_auroc_is_the_share_of_ordered_pairs(seed: int):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (12,), generator=generator).double()
    positive = torch.arange(12) < 5
    slow = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[:5] for b in scores[5:]]
    assert auroc(scores, positive) == pytest.approx(sum(slow) / len(slow))


# prompts


@pytest.mark.parametrize("spec", [*variables(), *composing_variables()], ids=lambda spec: spec.name)
def test_the_places_of_a_prompt_are_where_its_words_stand(spec):
    pair = spec.pairs(1, 0)[0]
    case = case_of(pair.base, spec.roles)
    for word, role in zip(pair.base.words, spec.roles, strict=True):
        first, end = case.spans[role]
        assert case.text[first:end] == word


@pytest.mark.parametrize("world", ["general", "composing"])
def test_chains_are_cut_before_their_step(world: str):
    family, rng = siblings()[world].families()["reasoning"], random.Random(0)
    for _ in range(30):
        chain = chain_of(family.sample(rng))
        assert chain.case.text.endswith("step:")
        if chain.hint_at is not None:
            first, end = chain.case.spans["hint"]
            assert chain.case.text[first:end] == chain.words[chain.hint_at]


@pytest.mark.parametrize("world", ["general", "composing"])
def test_another_hint_never_leads_to_the_step_that_the_chain_has_anyway(world: str):
    family, rng = siblings()[world].families()["reasoning"], random.Random(0)
    leads = [str(family.functions.backwards(hint)) for hint in range(10)]  # type: ignore[attr-defined]
    chains = [chain_of(family.sample(rng)) for _ in range(400)]
    for chain in (one for one in chains if one.hint_at is not None):
        hint = another_hint(chain, leads)
        assert hint != chain.words[chain.hint_at]
        assert leads[int(hint)] != chain.step


@pytest.mark.parametrize("world", ["general", "composing"])
def test_no_base_gives_the_counterfactual_as_it_is(world: str):
    given = [(one.name, one.pairs(100, 0)) for one in siblings()[world].variables()]
    known, lexicon = people(), [concept_of(), language_of(), *(operation_in(language) for language in range(3))]
    asked_of = [*lexicon, fact_of(known), recognition(known, "known"), recognition(known, "unknown")]
    given += [(one.title, one.draw(100, 0)) for one in asked_of]
    already = {name for name, pairs in given for pair in pairs if pair.counterfactual & frozenset(pair.base.answers)}
    assert not already


def test_a_model_without_the_family_is_not_asked(subject: Subject):
    assert knows(None, "geography") == "the model is no organism, and this study has no prompts for others"
    assert knows(siblings()["memorised"], "couplets") == "memorised was not grown on couplets"
    assert knows(subject.sibling, "couplets") is None


def test_no_more_units_are_moved_than_are_allowed(state: Trial, organism: ReplacementModel):
    pair = state.tested[0]
    amounts = state.amounts(pair, AT_THE_END)[LAST]
    free, few = Units(organism.dictionary), Units(organism.dictionary, most=7)
    largest = {
        (layer, int(unit)): float(amounts[layer][unit].abs() * free.size(layer)[unit])
        for layer, units in free.moved(amounts).items() for unit in units
    }  # fmt: skip
    kept = {(layer, int(unit)) for layer, units in few.moved(amounts).items() for unit in units}
    assert len(largest) > 7
    assert kept == set(sorted(largest, key=lambda one: -largest[one])[:7])
    controls = few.others(amounts, state.held(LAST)[:, 0], 0, "random")
    assert sum(int((amount != 0).sum()) for amount in controls.values()) == 7
    everything = Units(organism.dictionary, most=10**6)
    assert all(
        torch.equal(units, everything.moved(amounts)[layer]) for layer, units in free.moved(amounts).items()
    )  # fmt: skip


def test_graphs_are_looked_at_where_those_of_development_prompts_show_the_variable(
    subject: Subject, organism: ReplacementModel
):
    assert subject.sibling is not None
    spec = spec_of(subject.sibling, "geography", "relation", "two hops")
    variable = variable_of(spec, places=("town", "relation", LAST))
    trial = Trial(subject, Units(organism.dictionary), variable, TrialSettings(n=24, n_chosen_by=24))
    nowhere = Setting(places=("town",), window=(3, 3), strength=1.0)
    labels, traced = own_labels(trial), developed(trial, 60)
    values = {case.value for case in trial.fitted}
    assert len(traced) == min(60, len(trial.fitted))
    assert {one.case.value for one in traced[: len(values)]} == values, "of each value in turn"
    assert not {one.case.combination for one in traced} & {pair.base.combination for pair in trial.tested}
    shown = where_shown(trial, nowhere, traced, labels)
    assert shown.place in ("relation", LAST), "towns come before what is asked of them, or say nothing of it"
    found = graphs_of(trial, shown, traced, 8)
    known = [one.separation for one in found if one.separation is not None]
    assert len(known) >= 4
    assert sum(known) / len(known) > 0.9
    assert where_shown(trial, shown, traced, labels) == shown
    nonsense = [one for one in shown_of_nonsense(trial, nowhere, traced, found) if one is not None]
    assert sum(nonsense) / len(nonsense) < 0.8, "labels that are permuted are not told"


def test_a_supernode_holds_kept_units_of_its_value_weighed_as_naive_bayes_weighs_them(state: Trial):
    traced = developed(state, 40)
    setting = Setting(places=(LAST,), window=(2, 3), strength=1.0)
    means, value = state.means(LAST), traced[0].case.value
    found = supernodes(state.subject, means, setting, traced, lambda case: case.value)
    code = found.values.index(value)
    members = {
        (layer, unit)
        for layer, weight in found.weights.items() for unit in weight[:, code].nonzero().flatten().tolist()
    }  # fmt: skip
    kept = {
        (int(graph.nodes.layer[i]), int(graph.nodes.feature[i]))
        for case, graph in traced if case.value == value and graph.node_mask is not None
        for i in range(graph.n_nodes)
        if graph.node_mask[i] and graph.nodes.kinds[i] == "feature" and graph.nodes.layer[i] >= 2
        and int(graph.nodes.position[i]) == state.subject.position(case, LAST)
    }  # fmt: skip
    assert members
    assert members <= kept
    layer, unit = max(members, key=lambda one: float(found.weights[one[0]][one[1], code]))
    held = state.carrier.components(layer, means.inputs[layer])[:, unit]
    own = held[means.labels == means.values.index(value)].mean()
    by_value = torch.stack([held[means.labels == k].mean() for k in range(len(means.values))])
    within = torch.stack([(x - by_value[k]).square() for x, k in zip(held, means.labels, strict=True)]).mean()
    assert float(found.weights[layer][unit, code]) == pytest.approx(float((own - by_value.mean()) / within), rel=0.2)
    scores = torch.stack(
        [
            state.carrier.components(layer, state.held_by(state.kept_back, LAST)[layer]) @ weight[:, code]
            for layer, weight in found.weights.items()
        ]
    ).sum(0)
    labels = [case.value for case in state.kept_back]
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, mine in zip(scores.tolist(), labels, strict=True) if mine == value
        for b, other in zip(scores.tolist(), labels, strict=True) if other != value
    ]  # fmt: skip
    told = found.separations(state.carrier, state.held_by(state.kept_back, LAST), labels)[value]
    if labels.count(value) >= 2:
        assert told == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    else:
        assert told is None
    assert found.members(state.subject, traced[0], value)
    assert all(float(found.weights[layer].min()) >= 0 for layer in found.weights)


# single measures


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda a, b: a, "one operand"),
        (lambda a, b: (a + b == 77).float(), "sum"),
        (lambda a, b: ((a % 10 == 6) & (b % 10 == 9)).float(), "ones pair"),
        (lambda a, b: ((a + b) % 10 == 5).float(), "sum modulo 10"),
        (lambda a, b: ((a // 10 == 3) & (b // 10 == 5)).float(), "bands"),
        (lambda a, b: ((a // 10 + b // 10 == 8) & (a % 10 + b % 10 > 9)).float(), "column and carry"),
    ],
)
def test_a_unit_s_plot_is_told_by_its_template(function, name: str):
    a, b = torch.meshgrid(torch.arange(10.0, 100.0), torch.arange(10.0, 100.0), indexing="ij")
    found, r2 = best_template(function(a, b).float())
    assert found == name
    assert r2 > 0.99


def test_noise_fits_no_template():
    noise = torch.rand(90, 90, generator=torch.Generator().manual_seed(0))
    assert best_template(noise)[1] < 0.05


def test_a_word_that_took_over_is_suspected_first():
    parents = torch.full((40, 10), 0.05).double()
    parents[:, 1] = 0.5
    own = parents.clone()
    own[::4, 1], own[::4, 7] = 0.0, 0.6
    assert int(suspected(own, parents)[0]) == 7
    assert int(taken_over(own, parents, 7).sum()) == 10
    assert int(taken_over(own, own, 7).sum()) == 0


def test_a_word_that_is_first_by_a_hair_is_no_preference():
    """Where many words are as good, a little more growing makes another of them first."""
    parents = torch.full((400, 10), 0.1).double()
    parents[torch.arange(400), torch.arange(400) % 5] = 0.11
    drifted, sure = parents.clone(), parents.clone()
    drifted[::4, 7], sure[::4, 7] = 0.13, 0.9
    assert int(taken_over(drifted, parents, 7).sum()) == int(taken_over(sure, parents, 7).sum()) == 100
    assert is_preferred(sure, parents, 7)
    assert not is_preferred(drifted, parents, 7)


def test_the_nearest_regime_is_told_by_shares():
    fitted = torch.tensor([[0.0, 0.8, 0.9], [0.1, 0.7, 1.0], [0.0, 0.3, 0.1], [0.0, 0.2, 0.1], [0.7, 0.1, 0.9]])
    regimes = ["computed", "computed", "noise", "noise", "backwards"]
    assert nearest(fitted, regimes, torch.tensor([[0.6, 0.2, 0.9], [0.0, 0.9, 0.9]])) == ["backwards", "computed"]  # type: ignore[arg-type]


# reports


@pytest.fixture(scope="module")
def report() -> StudyReport:
    manifest = {"model": "organism", "dictionary": "d", "settings": StudySettings().to_json()}
    bars = Findings(measures=GOOD, notes=("moved <at> the end",), prompts=({"prompt": "a | b", "hit": True},))
    return StudyReport(study=TWO_HOP, verdict="pass", reasons=(), findings=bars, manifest=manifest)


def test_a_report_is_read_as_it_was_written_and_told(report: StudyReport, tmp_path: Path):
    files = write_report(report, tmp_path)
    assert {path.name for path in files} == {"report.json", "report.html", "report.md", "measures.svg"}
    again = read_report(tmp_path / "report.json", studies())
    assert sorted(map(str, again.findings.measures)) == sorted(map(str, report.findings.measures))
    assert "PASS" in markdown(again)
    assert r"a \| b" in markdown(again)
    assert "&lt;at&gt;" in page(again)
    assert "<script" not in page(again)


def test_a_report_that_was_read_is_drawn_as_it_was(report: StudyReport, tmp_path: Path):
    turned = dataclasses.replace(report, findings=Findings(measures=GOOD[::-1] + GOOD))
    write_report(turned, tmp_path)
    again = read_report(tmp_path / "report.json", studies())
    assert [one.to_json() for one in figures_of(again)] == [one.to_json() for one in figures_of(turned)]


def test_the_index_counts_controls_that_failed_as_they_must(report: StudyReport):
    bad, untested = one("control", 0.4, 0.1), one("control", None, 0.1, untested="its own gate failed")
    other = dataclasses.replace(report, findings=Findings(measures=(GOOD[0], bad, untested)))
    bare = dataclasses.replace(report, findings=Findings(measures=(GOOD[0], untested)))
    said = controls_line([report, other, bare])
    assert "Of 2 controls that counted, 1 failed as they must (50 [9, 91] %); 2 could not be tested." in said
    assert "Two-hop reasoning, x (0.40)." in said
    assert said.endswith("Without a control that counted: Two-hop reasoning.\n")
    assert "did what only" not in controls_line([report])


def test_the_index_says_how_many_pass_and_that_a_study_of_nothing_must_fail(report: StudyReport):
    failed = dataclasses.replace(report, verdict="fail")
    nothing = dataclasses.replace(failed, study=HIDDEN_PREFERENCE)
    there, by_contrasts = Asking(study=TWO_HOP), Asking(study=TWO_HOP, basis="contrasts")
    without = Asking(study=HIDDEN_PREFERENCE, model="organism/composing-mixed", finds_nothing=True)
    said = verdicts_line([report, failed, report, nothing], [there, there, by_contrasts, without])
    assert said == (
        "1 of 2 studies pass; asked again by contrasts of the stream, 1 of 1 do; "
        "where there is nothing to be found, 1 of 1 fail, as they must.\n"
    )
    assert verdicts_line([report], [there]) == "1 of 1 studies pass.\n"
    assert "| units | fail |" in row(failed, there)
    assert "| fail, as it must |" in row(nothing, without)
    assert "| pass, where it must fail |" in row(dataclasses.replace(nothing, verdict="pass"), without)
    assert row(report, by_contrasts).startswith("| [Two-hop reasoning](two-hop-contrasts.md) |")
    assert by_contrasts.command == "silverstain study run two-hop --model organism/composing --basis contrasts"


def test_every_study_of_organisms_has_a_report_and_no_two_share_a_page():
    asked = askings()
    assert {one.study.name for one in asked} == {study.name for study in STUDIES}
    assert len({one.name for one in asked}) == len(asked)


def test_a_report_of_another_study_is_refused(report: StudyReport, tmp_path: Path):
    write_report(dataclasses.replace(report, study=dataclasses.replace(TWO_HOP, name="astrology")), tmp_path)
    with pytest.raises(UsageError, match="a report of the study 'astrology', which is not known"):
        read_report(tmp_path / "report.json", studies())


def test_a_study_that_does_not_apply_says_why(loaded: ReplacementModel):
    found = run_study(TWO_HOP, subject_of(loaded))
    assert found.verdict == "not applicable"
    assert found.reasons == ("the model is no organism, and this study has no prompts for others",)


# command line


def test_the_command_lists_studies(capsys: pytest.CaptureFixture[str]):
    assert main(["study", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in studies())


def test_the_command_names_the_studies_that_there_are(capsys: pytest.CaptureFixture[str]):
    assert main(["study", "run", "astrology"]) == 2
    assert "there is no study 'astrology'; there are two-hop" in capsys.readouterr().err
    assert main(["study", "run", "two-hop", "--basis", "tea leaves"]) == 2
    assert "--basis is 'tea leaves'; it is units or contrasts" in capsys.readouterr().err


def test_a_study_is_run_and_kept_and_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert (
        main(["study", "run", "induction", "--prompts", "20", "--graphs", "2", "--out", str(tmp_path), "--json"]) == 0
    )
    first = json.loads(capsys.readouterr().out)
    assert first["verdict"] == "pass"
    assert {one["name"] for one in first["controls"]} == {
        "answer goes with the words",
        "a town's state by attention alone",
    }
    kept = tmp_path / "induction" / "report.json"
    assert main(["study", "run", "--manifest", str(kept), "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measures"] == first["measures"]
    assert main(["study", "report", str(kept)]) == 0
    assert "induction: PASS" in capsys.readouterr().out
