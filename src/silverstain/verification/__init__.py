"""Every claim of a graph predicted, and measured on the real model."""

from silverstain.verification.agreement import Agreement as Agreement
from silverstain.verification.agreement import agreement as agreement
from silverstain.verification.agreement import divided as divided
from silverstain.verification.claims import Claim as Claim
from silverstain.verification.claims import Dose as Dose
from silverstain.verification.claims import verdict as verdict
from silverstain.verification.inhibition import Ghost as Ghost
from silverstain.verification.inhibition import ghosts as ghosts
from silverstain.verification.verifying import Verification as Verification
from silverstain.verification.verifying import verify as verify

__all__ = ["Agreement", "Claim", "Dose", "Ghost", "Verification", "agreement", "divided", "ghosts", "verdict", "verify"]
