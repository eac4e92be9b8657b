"""Every claim of a graph predicted, and measured on the real model."""

from silverstain.verification.agreement import Agreement as Agreement
from silverstain.verification.agreement import agreement as agreement
from silverstain.verification.agreement import divided as divided
from silverstain.verification.claims import Claim as Claim
from silverstain.verification.claims import Dose as Dose
from silverstain.verification.claims import verdict as verdict
from silverstain.verification.graph_run import GraphRun as GraphRun
from silverstain.verification.graph_run import graph_run as graph_run
from silverstain.verification.inhibited import InhibitedFeature as InhibitedFeature
from silverstain.verification.inhibited import inhibited_features as inhibited_features
from silverstain.verification.verifying import Verification as Verification
from silverstain.verification.verifying import verify as verify

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
