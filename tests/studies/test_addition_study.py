"""The study of addition: sums told in other words are those that the organism grew up with, digit by digit."""

import dataclasses

import pytest

from silverstain.organism.composing.addition import addition
from silverstain.organism.siblings import siblings
from silverstain.studies.addition import told_in
from silverstain.studies.organism_variables import spec_of, variable_of
from silverstain.studies.protocol import LAST


@pytest.mark.parametrize("world", ["general", "composing"])
@pytest.mark.parametrize("dress", [1, 2])
def test_a_sum_in_other_words_is_a_sentence_of_the_world_up_to_the_same_digit(world: str, dress: int):
    spec = spec_of(siblings()[world], "addition", "carry")
    for pair in variable_of(spec, places=("b ones", LAST)).draw(40, 0):
        told = told_in(pair.base, dress)
        a, b, written = pair.base.text.removeprefix("calc: ").replace("=", "+").split("+")
        whole = addition(int(a), int(b), dress=dress)
        assert f"{whole.prompt} {written}".strip() == told.text
        assert (told.value, told.answers) == (pair.base.value, pair.base.answers)
        digits = {name: told.text[slice(*span)] for name, span in told.spans.items()}
        assert list(digits.values()) == list(b)
        assert told.spans["b ones"][1] == whole.prompt.rindex(f" {b} ") + 1 + len(b)


def test_digits_of_a_number_are_places_of_their_own():
    spec = spec_of(siblings()["composing"], "addition", "second carry")
    for pair in variable_of(spec).draw(20, 0):
        base = dataclasses.asdict(pair.base)["spans"]
        text = pair.base.text
        assert text[slice(*base["b"])] == "".join(
            text[slice(*base[f"b {name}"])] for name in ("hundreds", "tens", "ones")
        )
        assert base["b"][1] == base["b ones"][1]
