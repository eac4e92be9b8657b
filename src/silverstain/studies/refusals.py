"""Refusal: two substances that are each allowed are refused together, by what groups they belong to."""

from silverstain.organism.families.refusal import NAME
from silverstain.organism.variables.pairs import Pair as WorldPair
from silverstain.statistics import share_of
from silverstain.studies.organism_variables import knows, spec_of, variable_of
from silverstain.studies.protocol import LAST, Findings, Lab, Pair, Question, Study, Trial, Variable, asked
from silverstain.studies.protocol.rules import TARGET_LOW
from silverstain.studies.protocol.values import measured

ALONE = 0.8
"""Share of replies that must stay where one substance alone is exchanged."""


def replies(pair: WorldPair) -> frozenset[str]:
    """Both replies to a question: worlds differ in them, and so do a request and a question about it."""
    return pair.base.answers | pair.counterfactual


def run(lab: Lab) -> Findings:
    """Whether the pair is forbidden, in both directions, and neither substance alone; and the group of the first."""
    sibling = lab.subject.sibling
    assert sibling is not None  # as `lacks` says
    forbidden = spec_of(sibling, NAME, "forbidden")
    answered = variable_of(forbidden, places=("b", LAST), alike=replies, suits=lambda pair: pair.base.value == "false")
    refused = variable_of(forbidden, places=("b", LAST), alike=replies, suits=lambda pair: pair.base.value == "true")
    group = variable_of(spec_of(sibling, NAME, "group"), places=("a", "b", LAST), alike=replies)
    return (
        asked(lab, Question(variable=refused, must_be_computed=True, name="suppressed on forbidden"))
        + asked(lab, Question(variable=answered, in_graphs=False, name="injected on allowed"))
        + lab.steps.run("neither alone", lambda: neither_alone(lab, variable_of(forbidden)))
        + asked(lab, Question(variable=group, in_graphs=False, is_controlled=False, is_required=False, name="group"))
    )


def neither_alone(lab: Lab, forbidden: Variable) -> Findings:
    """Donors are drawn so that both their substances change the reply, and one of them does not: whether the model
    says so."""
    pairs = Trial(lab.subject, lab.carrier, forbidden, lab.settings.trial).tested
    told = [(exchanged(pair, role), pair) for pair in pairs for role in ("a", "b")]
    said = lab.subject.asked([text for text, _ in told])
    stays = [
        one.first in lab.subject.first_tokens(pair.base.answers) for one, (_, pair) in zip(said, told, strict=True)
    ]
    return Findings(
        measures=(
            measured("neither substance alone", "with one of the other pair's substances the reply stays", "target",
                     share_of(sum(stays), len(stays)) if stays else None, bar=ALONE, low_bar=TARGET_LOW),
        ),
    )  # fmt: skip


def exchanged(pair: Pair, role: str) -> str:
    """The base's text with one substance of the donor's."""
    (first, end), (start, stop) = pair.base.spans[role], pair.donor.spans[role]
    return pair.base.text[:first] + pair.donor.text[start:stop] + pair.base.text[end:]


REFUSALS = Study(
    name="refusal",
    title="Refusal of forbidden pairs",
    claim="What is refused is the combination, found from what each of the two substances is.",
    source="On the Biology of a Large Language Model, “Refusals”",
    motif=("substances", "their groups", "forbidden together", "refuse"),
    rule=(
        "taken from forbidden pairs, they are answered in at least 80 %; injected for allowed ones, they are refused",
        "one substance of a pair that is answered otherwise, alone, leaves the reply as it is in at least 80 %",
        "forbiddenness is found in the graphs of at least 90 % of held-out pairs",
        "the causal map says that it is computed before the reply",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=13,
    run=run,
)
