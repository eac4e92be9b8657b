"""Why are two prompts answered differently? The graph of the difference, and its proof by patching the real model.

    python examples/contrast.py
    python examples/contrast.py smollm2-135m "The capital of France is" "The capital of Spain is"

The first needs nothing; the second a model that `silverstain models get smollm2-135m` has fetched.
"""

import sys

import silverstain
from silverstain.verification.contrast import Region, prove_contrast

MODEL = "organism"
BASE, CONTRAST = "the opposite of hot is", "the opposite of big is"
SHOWN = 5


def main(arguments: list[str]) -> None:
    model, base, contrast = arguments or (MODEL, BASE, CONTRAST)
    loaded = silverstain.load(model, dictionary="neurons")
    graph = loaded.contrast(base, contrast)
    said = graph.meta["contrast"]
    one, other = (answer.strip() for answer in said["answers"])
    print(f"{base} → {one}\n{contrast} → {other}")
    print(f"logit of {other} less that of {one}: {said['base']:+.2f} becomes {said['contrast']:+.2f}")
    print(f"edges add up to every node's change, to {graph.exactness():.0e}\n")

    proof = prove_contrast(loaded.model, loaded.dictionary, graph)
    turned, back = proof.smallest["signed"], proof.smallest["signed_back"]
    print(f"neurons that turn {one} into {other}: {turned.k}; that turn it back: {back.k}")
    for row in proof.to_json()["curve"]:
        print(f"  {row['k']:3} patched: {row['signed']:+7.2f}   as many random ones: {row['random']:+7.2f}")

    print("\none at a time: the account, and what patching it does in the base")
    for claim in sorted(proof.claims, key=lambda claim: -abs(claim.measured))[:SHOWN]:
        print(f"  {claim.source:14} {claim.predicted:+.2f} {claim.base:+.2f}")

    behind = prove_contrast(loaded.model, loaded.dictionary, graph, region=Region(after_change=True))
    print(f"\nbehind the changed word alone, {behind.smallest['signed'].k} neurons turn it")


if __name__ == "__main__":
    main(sys.argv[1:])
