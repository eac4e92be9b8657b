"""How faithful a basis is: what it reconstructs, what the replaced model says, how both behave under edits."""

from silverstain.evaluation.calibration import DoseResponse as DoseResponse
from silverstain.evaluation.calibration import PassedOn as PassedOn
from silverstain.evaluation.faithfulness import FaithfulnessReport as FaithfulnessReport
from silverstain.evaluation.faithfulness import UnseenEdits as UnseenEdits
from silverstain.evaluation.faithfulness import faithfulness_report as faithfulness_report
from silverstain.evaluation.faithfulness import unseen_edits as unseen_edits
from silverstain.evaluation.fidelity import Evaluation as Evaluation
from silverstain.evaluation.fidelity import Fidelity as Fidelity
from silverstain.evaluation.fidelity import StandIn as StandIn
from silverstain.evaluation.fidelity import evaluate as evaluate
from silverstain.evaluation.fidelity import evaluate_dictionary as evaluate_dictionary
from silverstain.evaluation.fidelity import fidelity_on as fidelity_on
from silverstain.evaluation.fidelity import stand_in_on as stand_in_on
from silverstain.evaluation.frontier import Frontier as Frontier
from silverstain.evaluation.frontier import sweep as sweep
from silverstain.evaluation.graph_scores import GraphScores as GraphScores
from silverstain.evaluation.graph_scores import score_graphs as score_graphs
from silverstain.evaluation.held_out import HeldOut as HeldOut
from silverstain.evaluation.watching import Watch as Watch
from silverstain.evaluation.watching import WatchSettings as WatchSettings

__all__ = [
    "DoseResponse",
    "Evaluation",
    "FaithfulnessReport",
    "Fidelity",
    "Frontier",
    "GraphScores",
    "HeldOut",
    "PassedOn",
    "StandIn",
    "UnseenEdits",
    "Watch",
    "WatchSettings",
    "evaluate",
    "evaluate_dictionary",
    "faithfulness_report",
    "fidelity_on",
    "score_graphs",
    "stand_in_on",
    "sweep",
    "unseen_edits",
]
