"""Latent causes: two symptoms have a cause that is never named, and the cause says what to ask for next."""

from silverstain.studies.organism_variables import has_variable, knows, spec_of, variable_of
from silverstain.studies.protocol import LAST, Findings, Lab, Question, Study, Subject, asked

FAMILY = "causes"


def signs(subject: Subject) -> frozenset[str]:
    """Everything that may be asked for next."""
    assert subject.sibling is not None
    spec = spec_of(subject.sibling, FAMILY, latent(subject))
    return frozenset(word for pair in spec.pairs(400, 0) for word in pair.counterfactual)


def latent(subject: Subject) -> str:
    """The hidden variable between symptoms and sign: the cause in common, or the kind whose sum is the cause."""
    assert subject.sibling is not None
    return "cause" if has_variable(subject.sibling, FAMILY, "cause") else "kind"


def run(lab: Lab) -> Findings:
    sibling, name = lab.subject.sibling, latent(lab.subject)
    assert sibling is not None
    every = signs(lab.subject)
    spec = spec_of(sibling, FAMILY, name)
    places = tuple(role for role in ("first-symptom", "b", "second-symptom") if role in spec.roles)
    variable = variable_of(spec, places=(*places, LAST), alike=lambda pair: every)
    return asked(lab, Question(variable=variable, must_be_computed=True, name=name))


CAUSES = Study(
    name="causes",
    title="Latent causes",
    claim="What is asked for next follows from a cause that the symptoms have in common and nobody names.",
    source="On the Biology of a Large Language Model, “Medical diagnoses”",
    motif=("symptoms", "cause", "ask for its sign"),
    rule=(
        "the cause is found in the graphs of at least 90 % of held-out pairs of symptoms",
        "swapping the cause gives the other cause's sign in at least 80 %",
        "the causal map says that the cause is computed, not gathered",
    ),
    lacks=lambda subject: knows(subject.sibling, FAMILY),
    n_steps=5,
    run=run,
)
