"""Another task's circuit as a control: a circuit of its own, as much of it, and never of the same family."""

import dataclasses

import pytest
import torch

import silverstain
from silverstain.studies.organism_variables import spec_of, subject_of, variable_of
from silverstain.studies.protocol import LAST, Setting, Stream, Subject, Trial, TrialSettings, Units
from silverstain.studies.protocol.controls import another_tasks, controlled
from silverstain.studies.protocol.other_task import (
    NO_OTHER_TASK,
    TURNS_ITS_OWN,
    OtherTask,
    as_long,
    in_its_place,
    other_task,
)

AT_THE_END = Setting(places=(LAST,), window=(0, 2), strength=1.5)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of(silverstain.load())


@pytest.fixture(scope="module")
def state(subject: Subject) -> Trial:
    assert subject.sibling is not None
    variable = variable_of(spec_of(subject.sibling, "geography", "state"))
    return Trial(subject, Units(subject.loaded.dictionary), variable, TrialSettings(n=24, n_chosen_by=4))


@pytest.fixture(scope="module")
def other(subject: Subject, state: Trial) -> OtherTask:
    found = other_task(subject, state.carrier, "geography", 0)
    assert found is not None
    return found


def test_it_is_of_another_family_and_turns_its_own_answers(other: OtherTask):
    assert other.trial.variable.family != "geography"
    hits = [one.hit for one in other.trial.swapped(other.trial.tested, other.setting)]
    assert sum(hits) / len(hits) == other.turned.value >= TURNS_ITS_OWN


def test_where_none_is_turned_there_is_none_and_the_control_does_not_count(subject: Subject, state: Trial):
    alone = dataclasses.replace(subject, variables=tuple(v for v in subject.variables if v.family == "geography"))
    assert other_task(alone, Units(subject.loaded.dictionary), "geography", 0) is None
    (measure, _) = controlled(state, AT_THE_END, (another_tasks(lambda family: None),)).measures
    assert measure.untested == NO_OTHER_TASK
    assert not measure.counts


def test_as_much_is_written_at_the_places_of_the_variable(state: Trial, other: OtherTask):
    own = state.amounts(state.tested[0], AT_THE_END)[LAST]
    there = dataclasses.replace(other.setting, window=AT_THE_END.window)
    (theirs,) = other.trial.amounts(other.trial.tested[0], there).values()
    like = as_long(state.carrier, theirs, own)
    assert list(like) == list(own)
    for layer, amount in like.items():
        lengths = [state.carrier.length({layer: one}) for one in (amount, own[layer])]
        assert lengths[0] == pytest.approx(lengths[1]), "in every layer"
        cosine = torch.nn.functional.cosine_similarity(amount, theirs[layer], dim=0)
        assert float(cosine) == pytest.approx(1.0, abs=1e-5)
    edits = in_its_place(state, AT_THE_END, other)
    assert len(edits) == len(state.tested)
    position = state.subject.position(state.tested[0].base, LAST)
    assert {at for edit in edits[0] for at in edit.positions or ()} == {position}


def test_the_length_of_a_change_is_that_of_what_its_edits_add(state: Trial):
    own = state.amounts(state.tested[0], AT_THE_END)[LAST]
    added = [length_of(edit.donor) for edit in state.carrier.edits(own, 3)]  # type: ignore[union-attr]
    assert state.carrier.length(own) == pytest.approx(sum(length**2 for length in added) ** 0.5)
    stream = Stream(state.subject.model.n_layers)
    assert stream.length({0: own[0], 1: own[1]}) == pytest.approx(length_of([*own[0].tolist(), *own[1].tolist()]))


def length_of(values) -> float:
    return sum(float(value) ** 2 for value in values) ** 0.5


def test_another_tasks_circuit_leaves_the_state_alone(state: Trial, other: OtherTask):
    (measure, _) = controlled(state, AT_THE_END, (another_tasks(lambda family: other),)).measures
    assert measure.counts
    assert measure.holds
