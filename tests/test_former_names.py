"""Public names that moved are still found where they were, and are the very objects of their new places."""

from importlib import import_module

import pytest

MOVED = {
    ("silverstain.dictionaries", "silverstain.bases"): (
        "ActiveFeatures=ActiveUnits", "Dictionary", "check_fidelity", "check_fits", "check_made_for", "fidelity",
        "fitted", "open_dictionary", "save_dictionary",
    ),
    ("silverstain.replacement", "silverstain.loading"): ("ReplacementModel", "load", "verify"),
    ("silverstain.attribution", "silverstain.bases"): ("edited_logits", "replaced_logits"),
    ("silverstain.training", "silverstain.bases"): ("ConstantSubstitute", "NeuronSubstitute", "TokenSubstitute"),
    ("silverstain.training", "silverstain.models"): ("TokenBatch",),
    ("silverstain.training", "silverstain.evaluation"): (
        "Evaluation", "Fidelity", "evaluate", "evaluate_dictionary",
    ),
    ("silverstain.training.sweep", "silverstain.evaluation.frontier"): ("at_equal_parameters", "sweep"),
    ("silverstain.training.watching", "silverstain.evaluation.watching"): ("Watch",),
    ("silverstain.interventions.verification", "silverstain.verification"): (
        "Agreement", "Claim", "Dose", "Ghost=InhibitedFeature", "Verification", "agreement", "divided",
        "ghosts=inhibited_features", "verdict", "verify",
    ),
    ("silverstain.interventions.treatment", "silverstain.treatment"): (
        "Condition", "Item", "Rule", "Treatment", "baked", "from_graph", "load_items", "load_without",
        "randomly_treated", "share_right", "treated", "treatment_for",
    ),
    ("silverstain.interventions.treatment.comparing", "silverstain.treatment.comparing"): (
        "best_steering", "compared", "fine_tuned",
    ),
    ("silverstain.studies.faithfulness_report", "silverstain.evaluation.faithfulness"): ("faithfulness_report",),
    ("silverstain.studies.faithfulness_report", "silverstain.organism.prompts"): ("organism_prompts",),
    ("silverstain.studies", "silverstain.organism.two_hop"): (
        "Answered=RecordedQuestions", "Questions", "followed", "questions",
    ),
}  # fmt: skip
"""(where a name was, where it is) -> names. A name that is called otherwise now stands as `former=present`."""


@pytest.mark.parametrize(
    ("former", "present", "name"), [(*places, name) for places, names in MOVED.items() for name in names]
)
def test_a_former_name_is_the_object_of_its_new_place(former: str, present: str, name: str):
    was, _, now = name.partition("=")
    found = getattr(import_module(former), was)
    assert found is getattr(import_module(present), now or was)


@pytest.mark.parametrize("package", ["silverstain.training", "silverstain.attribution", "silverstain.organism"])
def test_a_name_that_never_was_is_named_in_the_error(package: str):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'; it has "):
        _ = import_module(package).nothing
