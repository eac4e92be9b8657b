"""The study of entities: what is injected into questions about unknown names is of the sort that they ask for."""

from silverstain.organism.families.entities import DRINKS, QUESTIONS, SPORTS, people, question
from silverstain.studies.entities import FACTS, asked_for, fact_of, strangers_asked


def test_a_name_that_nobody_knows_is_asked_for_the_sort_of_fact_that_is_injected():
    known = people()
    pairs = fact_of(known).draw(40, 0)
    asked = strangers_asked(known, pairs)
    assert [case.combination for case, _ in asked] == [f"{one.first} {one.last}" for one in known.unknown_held_out]
    for case, pair in asked:
        sorts = {"sport": SPORTS, "drink": DRINKS}
        (sort,) = (name for name, values in sorts.items() if pair.counterfactual <= set(values))
        assert sort in case.text
    assert {pair.base.text for _, pair in asked} == {pair.base.text for pair in pairs}, "every swap is used"


def test_the_sort_of_fact_is_told_in_every_wording():
    for fact in FACTS:
        for form in range(len(QUESTIONS[fact])):
            assert asked_for(question(people().known[0], fact, form, status="known").prompt) == fact
