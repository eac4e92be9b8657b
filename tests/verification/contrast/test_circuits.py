"""Circuits found by measuring, against the runs of the model."""

import pytest
import torch

import silverstain
from silverstain.attribution.secant import find_contrast
from silverstain.errors import UsageError
from silverstain.graphs import find_roles
from silverstain.verification.contrast import (
    Patch,
    Patching,
    effect_of,
    find_circuit,
    pair_of_groups,
    places_of,
)

PROMPTS = ("the capital of the state containing dallas is", "the capital of the state containing oakland is")


@pytest.fixture(scope="module")
def found():
    loaded = silverstain.load("organism")
    graph = loaded.trace(PROMPTS[0])
    patching = Patching(find_contrast(loaded.model, loaded.dictionary, *PROMPTS))
    return graph, find_roles(graph), patching


def test_necessity_and_sufficiency_are_what_patched_runs_say(found):
    graph, roles, patching = found
    pair = pair_of_groups(patching, places_of(graph, roles.groups[:2]))
    effect = effect_of([pair], [[0, 1]])[0]
    units = torch.cat(pair.members).unique()
    runs = [Patch(run=0, units=units[:0]), Patch(run=0, units=units), Patch(run=0, units=units, all_but=True)]
    own = torch.sigmoid(-patching.run(runs).value.double())
    assert effect.necessity == pytest.approx(float(own[0] - own[1]), abs=1e-6)
    assert effect.sufficiency == pytest.approx(float(own[2] / own[0]), abs=1e-6)
    assert effect.units == len(units)


def test_a_circuit_is_no_larger_than_asked_and_does_more_than_units_at_random(found):
    graph, roles, patching = found
    only = [one.only_writes for one in roles.supernodes]
    pair = pair_of_groups(patching, places_of(graph, roles.groups), only_write=only)
    labels = [group.label for group in roles.groups]
    allowed = [not one and i < 6 for i, one in enumerate(only)]  # few, as shape checks take their time
    circuit = find_circuit([pair], labels, allowed=allowed, most=4)
    assert 1 <= len(circuit.groups) <= 4
    assert not any(only[i] for i in circuit.groups)
    assert circuit.random is not None
    assert circuit.effect.both > circuit.random.both
    assert circuit.random.units == circuit.effect.units
    assert circuit.remark == ""


def test_groups_that_are_not_there_are_refused(found):
    _, _, patching = found
    pair = pair_of_groups(patching, [[(0, 99, 5)], []])
    with pytest.raises(UsageError, match="no group whose units could make the answer"):
        find_circuit([pair], ["a", "b"])
