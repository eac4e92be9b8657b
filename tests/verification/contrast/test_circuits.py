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
from silverstain.verification.contrast.circuits import WORTH

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


def test_attention_of_a_group_looks_where_it_looks_in_the_other_run(found):
    _, _, patching = found
    last = patching.contrast.pair.n_positions - 1
    moved = [patching.contrast.pair.layers[layer].patterns().diff(dim=0)[0, :, last] for layer in (0, 1)]
    (own_head, own_key), (head, key) = (divmod(int(one.abs().argmax()), last + 1) for one in moved)
    unit, there = (3, 0, int(patching.contrast.flow.units[3].feature[-1])), (1, head, 0, last - key)
    groups = [[unit, there, (1, 2, 0, 99), (1, 2, 1, 0)], [(0, own_head, 0, last - own_key)]]
    pair = pair_of_groups(patching, groups)  # of the first group, one key is before the text and one behind its query
    assert pair.patterns.tolist() == [[0, own_head, last, own_key], [1, head, last, key]]
    assert [len(members) for members in pair.members] == [2, 1]
    both, alone = effect_of([pair], [[0, 1], [0]])
    units = pair.members[0][:1]
    for effect, patterns in ((both, pair.patterns), (alone, pair.patterns[1:])):
        runs = [Patch(run=0, units=units[:0]), Patch(run=0, units=units, pairs=patterns)]
        own = torch.sigmoid(-patching.run(runs).value.double())
        assert effect.necessity == pytest.approx(float(own[0] - own[1]), abs=1e-6)
    assert abs(both.necessity - alone.necessity) > 1e-7
    assert (both.units, alone.units) == (3, 2)


def test_the_circuit_is_the_smallest_that_does_nearly_as_much_as_the_best(found):
    graph, roles, patching = found
    pair = pair_of_groups(patching, places_of(graph, roles.groups))
    labels = [group.label for group in roles.groups]
    circuit = find_circuit([pair], labels, allowed=[i < 5 for i in range(len(labels))], most=3)
    sizes = range(5, 0, -1)
    assert len(circuit.steps) == len(sizes)
    few = {n: step.both for n, step in zip(sizes, circuit.steps, strict=True) if n <= 3}
    assert len(circuit.groups) == min(n for n, both in few.items() if both >= max(few.values()) - WORTH)
    assert circuit.effect.both == pytest.approx(few[len(circuit.groups)], abs=1e-6)


def test_groups_that_are_not_there_are_refused(found):
    _, _, patching = found
    pair = pair_of_groups(patching, [[(0, 99, 5)], []])
    with pytest.raises(UsageError, match="no group whose units could make the answer"):
        find_circuit([pair], ["a", "b"])
