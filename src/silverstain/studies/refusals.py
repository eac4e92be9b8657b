"""Refusal: two substances that are each allowed are refused together, by what groups they belong to."""

from silverstain.organism.families.refusal import NAME
from silverstain.organism.variables.pairs import Pair
from silverstain.studies.organism_variables import knows, spec_of, variable_of
from silverstain.studies.protocol import LAST, Findings, Lab, Question, Study, asked


def replies(pair: Pair) -> frozenset[str]:
    """Both replies to a question: worlds differ in them, and so do a request and a question about it."""
    return pair.base.answers | pair.counterfactual


def run(lab: Lab) -> Findings:
    """Whether the pair is forbidden, in both directions; and the group of the first substance."""
    sibling = lab.subject.sibling
    assert sibling is not None  # as `lacks` says
    forbidden = spec_of(sibling, NAME, "forbidden")
    answered = variable_of(forbidden, places=("b", LAST), alike=replies, suits=lambda pair: pair.base.value == "false")
    refused = variable_of(forbidden, places=("b", LAST), alike=replies, suits=lambda pair: pair.base.value == "true")
    group = variable_of(spec_of(sibling, NAME, "group"), places=("a", "b", LAST), alike=replies)
    return (
        asked(lab, Question(variable=refused, must_be_computed=True, name="suppressed on forbidden"))
        + asked(lab, Question(variable=answered, in_graphs=False, name="injected on allowed"))
        + asked(lab, Question(variable=group, in_graphs=False, name="group"))
    )


REFUSALS = Study(
    name="refusal",
    title="Refusal of forbidden pairs",
    claim="What is refused is the combination, found from what each of the two substances is.",
    source="On the Biology of a Large Language Model, “Refusals”",
    motif=("substances", "their groups", "forbidden together", "refuse"),
    rule=(
        "taken from forbidden pairs, they are answered in at least 80 %; injected for allowed ones, they are refused",
        "swapping the group of one substance changes the reply as the other group would in at least 80 %",
        "forbiddenness is found in the graphs of at least 90 % of held-out pairs",
        "the causal map says that it is computed before the reply",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=10,
    run=run,
)
