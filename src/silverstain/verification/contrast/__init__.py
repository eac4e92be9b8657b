"""The proof of a contrast: units patched from one real run into the other, beside controls."""

from silverstain.verification.contrast.curves import KS, Curve, Turned
from silverstain.verification.contrast.patching import Patch, Patching
from silverstain.verification.contrast.proof import ContrastProof, NodeClaim, prove, prove_contrast
from silverstain.verification.contrast.rankings import Region

__all__ = [
    "KS",
    "ContrastProof",
    "Curve",
    "NodeClaim",
    "Patch",
    "Patching",
    "Region",
    "Turned",
    "prove",
    "prove_contrast",
]
