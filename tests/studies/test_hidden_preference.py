"""Which units write a preferred word, and how much that depends on the places they are ranked by."""

import torch

import silverstain
from silverstain.studies.hidden_preference import largest, steady
from silverstain.studies.organism_variables import subject_of
from silverstain.studies.protocol import Lab, StudySettings, Units
from silverstain.studies.protocol.stability import jaccard
from silverstain.studies.protocol.steps import Steps


def lab() -> Lab:
    subject = subject_of(silverstain.load())
    return Lab(
        subject=subject, carrier=Units(subject.loaded.dictionary), settings=StudySettings(), steps=Steps(),
        other_prompts=lambda name, n: [], other_task=lambda family: None,
    )  # fmt: skip


def test_units_are_ranked_over_all_layers():
    written = torch.zeros(3, 50)
    written[1, 7], written[2, 0], written[0, 49] = 3.0, 2.0, 1.0
    assert largest(written)[:3] == [(1, 7), (2, 0), (0, 49)]


def test_units_that_write_alike_everywhere_are_the_same_whichever_places_are_drawn():
    row = torch.randn(4, 200, generator=torch.Generator().manual_seed(0))
    same = steady(lab(), row.expand(30, 4, 200), 10)
    assert same.value == 1.0
    other = steady(lab(), torch.randn(30, 4, 200, generator=torch.Generator().manual_seed(1)), 10)
    assert other.value is not None
    assert other.value < 0.6


def test_two_sets_have_in_common_what_is_in_both_of_what_is_in_either():
    assert jaccard({1, 2, 3}, {2, 3, 4}) == 0.5
    assert jaccard(set(), set()) == 0.0
