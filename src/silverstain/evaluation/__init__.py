"""How faithful a basis is: what it reconstructs, what the replaced model says, how both behave under edits."""

from silverstain.evaluation.fidelity import Evaluation as Evaluation
from silverstain.evaluation.fidelity import Fidelity as Fidelity
from silverstain.evaluation.fidelity import evaluate as evaluate
from silverstain.evaluation.fidelity import evaluate_dictionary as evaluate_dictionary

__all__ = ["Evaluation", "Fidelity", "evaluate", "evaluate_dictionary"]
