"""Every claim of a graph predicted, and measured on the real model."""

from silverstain.interventions.verification.agreement import Agreement as Agreement
from silverstain.interventions.verification.agreement import agreement as agreement
from silverstain.interventions.verification.agreement import divided as divided
from silverstain.interventions.verification.claims import Claim as Claim
from silverstain.interventions.verification.claims import Dose as Dose
from silverstain.interventions.verification.claims import verdict as verdict
from silverstain.interventions.verification.inhibition import Ghost as Ghost
from silverstain.interventions.verification.inhibition import ghosts as ghosts
from silverstain.interventions.verification.verifying import Verification as Verification
from silverstain.interventions.verification.verifying import verify as verify

__all__ = ["Agreement", "Claim", "Dose", "Ghost", "Verification", "agreement", "divided", "ghosts", "verdict", "verify"]
