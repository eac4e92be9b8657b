"""The proof of a contrast: units patched from one real run into the other, beside controls."""

from silverstain.verification.contrast.circuits import (
    Effect,
    FoundCircuit,
    PairOfGroups,
    effect_of,
    find_circuit,
    pair_of_groups,
    places_of,
)
from silverstain.verification.contrast.curves import KS, Curve, Turned
from silverstain.verification.contrast.patching import Patch, Patching
from silverstain.verification.contrast.proof import ContrastProof, NodeClaim, prove, prove_contrast
from silverstain.verification.contrast.rankings import Region

__all__ = [
    "KS",
    "ContrastProof",
    "Curve",
    "Effect",
    "FoundCircuit",
    "NodeClaim",
    "PairOfGroups",
    "Patch",
    "Patching",
    "Region",
    "Turned",
    "effect_of",
    "find_circuit",
    "pair_of_groups",
    "places_of",
    "prove",
    "prove_contrast",
]
