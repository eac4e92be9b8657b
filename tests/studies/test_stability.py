"""How alike the units are that swaps move when development prompts are drawn again."""

import dataclasses

import pytest
import torch

import silverstain
from silverstain.studies.organism_variables import spec_of, subject_of, variable_of
from silverstain.studies.protocol import LAST, Setting, Trial, TrialSettings, Units
from silverstain.studies.protocol.carriers import Stream
from silverstain.studies.protocol.means import Means
from silverstain.studies.protocol.stability import alike, by_chance, moved_units, redrawn, stable
from silverstain.studies.two_hop import STATE_FORMS

AT_THE_END = Setting(places=(LAST,), window=(0, 3), strength=1.5)


@pytest.fixture(scope="module")
def state() -> Trial:
    subject = subject_of(silverstain.load())
    assert subject.sibling is not None
    variable = variable_of(spec_of(subject.sibling, "geography", "state", *STATE_FORMS), places=("town", LAST))
    return Trial(subject, Units(subject.loaded.dictionary, 30), variable, TrialSettings(n=8, n_chosen_by=2))


def with_combinations(means: Means, names: list[str]) -> Means:
    return dataclasses.replace(means, combinations=tuple(names), _by_value={})


def test_each_value_keeps_as_many_combinations_and_places_the_same(state: Trial):
    means = {place: state.means(place) for place in state.variable.places}
    again = redrawn(means, 3)
    first, last = (again[place] for place in state.variable.places)
    assert first.combinations == last.combinations
    town_of = dict(zip(means[LAST].combinations, means[LAST].labels.tolist(), strict=True))
    assert all(town_of[name] == label for name, label in zip(last.combinations, last.labels.tolist(), strict=True))
    assert set(last.labels.tolist()) == set(means[LAST].labels.tolist())
    assert set(last.combinations) < set(means[LAST].combinations)  # some are drawn twice, and others not
    assert redrawn(means, 3)[LAST].combinations == last.combinations


def test_where_a_value_has_one_combination_the_units_are_the_same(state: Trial):
    means = state.means(LAST)
    alone = {LAST: with_combinations(means, [f"value {label}" for label in means.labels.tolist()])}
    assert alike(state, AT_THE_END, alone, state.tested[:3]) == (1.0, 1.0)


def test_units_that_follow_single_towns_are_fewer_in_common(state: Trial):
    own, sign = alike(state, AT_THE_END, {LAST: state.means(LAST)}, state.tested[:3])
    assert by_chance(state, AT_THE_END, {LAST: state.means(LAST)}) < 0.1 < own < 1
    assert sign > 0.9


def test_of_random_sets_so_many_are_in_both(state: Trial):
    means = {LAST: state.means(LAST)}
    k = len(moved_units(state, AT_THE_END, means, state.tested[0]))
    n = sum(int((state.carrier.components(layer, means[LAST].inputs[layer]) != 0).any(0).sum()) for layer in range(4))
    generator = torch.Generator().manual_seed(0)
    drawn = [set(torch.randperm(n, generator=generator)[:k].tolist()) for _ in range(200)]
    measured = sum(len(a & b) / len(a | b) for a, b in zip(drawn[::2], drawn[1::2], strict=True)) / 100
    assert by_chance(state, AT_THE_END, means) == pytest.approx(measured, abs=0.01)


def test_it_is_told_with_its_null_and_the_stream_has_no_units(state: Trial):
    found = stable(state, AT_THE_END, of="state: ")
    swapped, own, null = found.measures
    assert all(one.role == "reported" for one in found.measures)
    assert own.value is not None
    assert null.value is not None
    assert swapped.value is not None
    assert swapped.value >= 0.5
    assert f"move {own.value:.2f} of the same" in found.notes[0]
    stream = Trial(state.subject, Stream(state.subject.model.n_layers), state.variable, state.settings)
    assert len(stable(stream, Setting(places=(LAST,), window=(1, 1), strength=1.0)).measures) == 1
