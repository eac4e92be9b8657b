"""A contrast of two towns of the organism is traced and proved in dictionaries, whose layers have unequal numbers of
features that change."""

import pytest

import silverstain
from silverstain.attribution.secant import contrast
from silverstain.verification.contrast import prove_contrast

TOWNS = tuple(f"the capital of the state containing {town} is" for town in ("dallas", "oakridge"))


@pytest.mark.parametrize("dictionary", ["cross-layer", "per-layer"])
def test_features_and_patterns_are_patched_alone(dictionary: str):
    loaded = silverstain.load("organism", dictionary=dictionary)
    graph = contrast(loaded.model, loaded.dictionary, *TOWNS)
    assert graph.exactness() < 1e-4
    proof = prove_contrast(loaded.model, loaded.dictionary, graph, max_sources=8, ks=(5, 20))
    assert proof.answers == ("austin", "nashville")
    kinds = [claim.kind for claim in proof.claims]
    assert kinds == ["feature"] * 8 + ["attention"] * 2
    assert proof.base < 0 < proof.contrast
