"""How faithful a basis is: what it reconstructs, what the replaced model says, how both behave under edits."""

from silverstain.evaluation.calibration import DoseResponse, PassedOn
from silverstain.evaluation.faithfulness import FaithfulnessReport, UnseenEdits, faithfulness_report, unseen_edits
from silverstain.evaluation.fidelity import (
    Evaluation,
    Fidelity,
    StandIn,
    evaluate,
    evaluate_dictionary,
    fidelity_on,
    stand_in_on,
)
from silverstain.evaluation.frontier import Frontier, sweep
from silverstain.evaluation.graph_scores import GraphScores, score_graphs
from silverstain.evaluation.held_out import HeldOut
from silverstain.evaluation.stream_patching import StreamPatching, stream_patching
from silverstain.evaluation.watching import Watch, WatchSettings

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
    "StreamPatching",
    "UnseenEdits",
    "Watch",
    "WatchSettings",
    "evaluate",
    "evaluate_dictionary",
    "faithfulness_report",
    "fidelity_on",
    "score_graphs",
    "stand_in_on",
    "stream_patching",
    "sweep",
    "unseen_edits",
]
