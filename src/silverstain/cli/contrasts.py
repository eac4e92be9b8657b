"""The contrast of two prompts, as `trace --contrast` and `verify` have it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from silverstain.cli import output
from silverstain.printable import printable

if TYPE_CHECKING:
    from silverstain.graphs import Graph, Story
    from silverstain.loading import ReplacementModel
    from silverstain.models import Prompt
    from silverstain.verification.contrast import ContrastProof, Curve, Region

AUTO = "auto"
NAMES = {
    "signed": "by the account, signed",
    "absolute": "by the account, absolute",
    "gradient": "by gradient × change",
    "ig": "by integrated gradients",
    "half": "by the half rule",
    "largest_change": "the largest changes",
    "random": "random units",
}


def other_prompt(replacement: "ReplacementModel", base: "Prompt", contrast: str, position: int) -> "Prompt":
    """The second prompt: what is given, or the change of one token that moves the answer most."""
    if contrast != AUTO:
        return contrast
    from silverstain.attribution.secant.automatic import likely_change

    model = replacement.model
    ids = model.tokenize(base) if isinstance(base, str) else [int(token) for token in base]
    found = likely_change(model, ids, position=position)
    before, after = model.token_strings([ids[found.position], found.token_ids[found.position]])
    output.talk(
        f"the change that moves the answer most: {printable(before)!r} becomes {printable(after)!r} at position "
        f"{found.position}"
    )
    return list(found.token_ids)


def tell_proof(
    replacement: "ReplacementModel", graph: "Graph", story: "Story", region: "Region", *, sources: int, seed: int,
    rows: int, json: bool, file: Path, write: bool,
) -> None:  # fmt: skip
    """Prove a contrast's graph and say what came of it."""
    from silverstain.graphs import story_beside
    from silverstain.verification.contrast import prove_contrast

    with output.progress("patching", quiet=json) as progress:
        proof = prove_contrast(
            replacement.model, replacement.dictionary, graph, groups=story.groups_in(graph), region=region,
            max_sources=sources, seed=seed, on_progress=progress,
        )  # fmt: skip
    report = proof.to_json()
    if write:
        story.with_evidence(graph.hash, report).save(story_beside(file))
    if json:
        output.emit({"graph": str(file), **report})
        return
    output.data(proof_in_words(proof))
    output.data("")
    output.data(curve_table(proof))
    output.data("")
    output.data(necessity_table(proof))
    output.data("")
    output.data(claims_table(proof, rows))
    output.data("")
    output.data(agreement_table(proof))
    if write:
        output.talk(f"Wrote {story_beside(file)}. Next: silverstain show {file}")


def proof_in_words(proof: "ContrastProof") -> str:
    """How few units turn the answer, and whether others do."""
    base, other = (printable(answer).strip() for answer in proof.answers)
    k, back = proof.smallest["signed"], proof.smallest["signed_back"]
    lines = [
        f"  logit of {other} less that of {base}: {proof.base:+.2f} in the base, {proof.contrast:+.2f} in the contrast"
    ]
    if not proof.region.is_everywhere:
        lines.append(f"  patched are units{_where(proof.region)} alone; all of them come to {proof.region_whole:+.2f}")
    if k.k is None:
        lines.append("  patched into the base, no number of units that was tried turns the answer")
    else:
        first = ", then also the first choice" if k.is_first else ""
        lines.append(f"  patched into the base, {k.k} units turn it to {other}{first}")
    if back.k is not None:
        lines.append(f"  patched back into the contrast, {back.k} units turn it to {base}")
    return "\n".join(lines)


def _where(region: "Region") -> str:
    parts = [f" from layer {region.from_layer} on"] if region.from_layer else []
    parts += [" behind the changed tokens"] if region.after_change else []
    return "".join(parts)


def curve_table(proof: "ContrastProof") -> str:
    """The difference of logits with K units patched into the base, by each order."""
    there = [curve for method in NAMES if (curve := proof.curve(method)) is not None]
    return curves_in_rows({NAMES[curve.method]: curve for curve in there})


def necessity_table(proof: "ContrastProof") -> str:
    """The difference of logits with everything patched into the base but K units."""
    without = {NAMES[one.method]: one for one in proof.necessity if one.method in ("signed", "random")}
    return curves_in_rows(without, what="all patched but these")


def curves_in_rows(
    curves: "Mapping[str, Curve]", *, what: str = "units patched into the base", indent: str = "  "
) -> str:
    """A row a curve, by name, a column a number of units."""
    ks = sorted({k for curve in curves.values() for k in curve.values})
    rows = [[what, *map(str, ks)]]
    rows += [[name, *(_value(curve.values.get(k)) for k in ks)] for name, curve in curves.items()]
    return output.table(rows, right=tuple(range(1, len(ks) + 1)), indent=indent)


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def claims_table(proof: "ContrastProof", n: int) -> str:
    """Nodes and groups with the largest effects, predicted beside measured."""
    rows = [["source", "account", "patched into the base", "patched back"]]
    ranked = sorted(proof.claims, key=lambda claim: (claim.kind != "group", -abs(claim.measured)))
    for claim in ranked[:n]:
        name = printable(claim.source)
        rows.append([name, f"{claim.predicted:+.2f}", f"{claim.base:+.2f}", f"{claim.contrast:+.2f}"])
    return output.table(rows, right=(1, 2, 3))


def agreement_table(proof: "ContrastProof") -> str:
    """Rank correlation of each score with what patching single units does."""
    rows = [["rank correlation over single units", "in the base", "in the contrast", "mean of both"]]
    for name, values in proof.correlations.items():
        said = {"account": "the account", "ig": "integrated gradients", "half": "the half rule"}.get(name, name)
        rows.append([said, *(f"{values[where]:.2f}" for where in ("base", "contrast", "both"))])
    return output.table(rows, right=(1, 2, 3))
