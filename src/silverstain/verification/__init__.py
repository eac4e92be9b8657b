"""Every claim of a graph predicted, and measured on the real model."""

from silverstain.verification.agreement import Agreement, agreement, divided
from silverstain.verification.claims import Claim, Dose, verdict
from silverstain.verification.graph_run import GraphRun, graph_run
from silverstain.verification.inhibited import InhibitedFeature, inhibited_features
from silverstain.verification.verifying import Verification, verify

__all__ = [
    "Agreement",
    "Claim",
    "Dose",
    "GraphRun",
    "InhibitedFeature",
    "Verification",
    "agreement",
    "divided",
    "graph_run",
    "inhibited_features",
    "verdict",
    "verify",
]
