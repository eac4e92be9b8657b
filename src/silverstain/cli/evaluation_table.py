"""The table of `silverstain evaluate`: the dictionary beside its baselines, then by layer and by family."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from silverstain.cli import output
from silverstain.cli.output import interval, percent

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
    from silverstain.cli.evaluation_report import EvaluationReport
    from silverstain.evaluation import Evaluation
    from silverstain.evaluation.fidelity import Fidelity
    from silverstain.evaluation.graph_scores import GraphScores
    from silverstain.evaluation.stream_patching import StreamPatching
    from silverstain.studies import Faithfulness
    from silverstain.training.mixtures import Molt

Written = Callable[[float], str]
Baselines = Mapping[str, float | None]
"""A figure of each replacement that has no features, where it has one."""
NO_BASELINES: Baselines = {}
NONE = "–"


def tell_evaluation(report: "EvaluationReport") -> None:
    """Print everything."""
    found, traced, fidelity = report.found, report.traced, report.found.fidelity
    output.data(
        f"{title(report.dictionary, report.model)}\n"
        f"{fidelity.n_tokens:,} tokens of {found.n_sequences:,} sequences; in brackets 95 % intervals\n"
    )
    rows = _in_all(found, traced) + _patched(found.stream_patching) + _causal(report.causal)
    output.data(output.table(rows, right=(1, 3, 4, 5)))
    output.data("\n" + output.table(_by_layer(found), right=range(1, 10)))
    if fidelity.families:
        output.data("\n" + output.table(_by_family(report), right=(1, 3, 4, 5)))
    for line in report.remarks:
        output.data(f"\n  {line}")
    output.talk("\nWhat each figure is: docs/evaluate.md. --json prints all of them.")


def title(dictionary: "Dictionary | Molt", model: str) -> str:
    """Which dictionary, of what kind and size, in which model."""
    from silverstain.bases import Dictionary

    if isinstance(dictionary, Dictionary):
        reach = "cross-layer" if dictionary.is_cross_layer else "per-layer"
        kind = f"{reach}, {dictionary.activation}, {dictionary.n_features:,} features"
    else:
        kind = f"mixture, {dictionary.n_features:,} linear transforms"
    return f"{dictionary.name} ({kind} in each of {dictionary.n_layers} layers) in {model}"


def _in_all(found: "Evaluation", traced: "GraphScores | None") -> list[list[str]]:
    fidelity, ends, others = found.fidelity, found.intervals, found.stand_ins
    rows = [["all MLPs replaced by", "dictionary", "", *(_stand_in_name(name) for name in others)]]

    def row(label: str, value: float | None, written: Written, name: str = "", of: Baselines = NO_BASELINES) -> None:
        if value is not None:
            compared = [NONE if of.get(other) is None else written(of[other]) for other in others]  # type: ignore[arg-type]
            rows.append([label, written(value), interval(ends.get(name), written), *compared])

    def stand_ins(name: str) -> Baselines:
        return {other: getattr(stand_in, name) for other, stand_in in others.items()}

    row("NMSE", fidelity.nmse, _figure, "nmse", stand_ins("nmse"))
    row("NMSE ÷ that of affine maps", fidelity.nmse_ratio, _figure, of={"affine": 1.0})
    row("KL, nats", fidelity.kl, _figure, "kl", stand_ins("kl"))
    row("same first choice", fidelity.top1_match, percent, "top1_match", stand_ins("top1_match"))
    row("… of determined tokens", fidelity.top1_match_determined, percent, "top1_match_determined",
        stand_ins("top1_match_determined"))  # fmt: skip
    row(f"CE, nats (the model: {fidelity.ce_model:.3f})", fidelity.ce_replaced, lambda v: f"{v:.3f}", "ce_replaced",
        stand_ins("ce_replaced"))  # fmt: skip
    row("CE recovered", fidelity.ce_recovered, lambda v: f"{100 * v:.2f} %", "ce_recovered", stand_ins("ce_recovered"))
    row("active features a token, layer", fidelity.l0, lambda v: f"{v:.1f}", "l0")
    row("dead features", fidelity.dead, percent)
    row("contributing features", fidelity.contributing, percent)
    row("carried by the linear skip", fidelity.skip_share, percent, "skip_share")
    if traced is not None:
        for name in ("replacement", "completeness", "path_length"):
            label = f"{_words(name)}, {traced.n} graphs"
            digits = 2 if name == "path_length" else 3
            written: Written = lambda v, digits=digits: f"{v:.{digits}f}"  # noqa: E731
            rows.append([label, written(getattr(traced, name)), interval(traced.intervals[name], written)])
    return rows


def _patched(found: "StreamPatching | None") -> list[list[str]]:
    if found is None:
        return []
    shares = [("same first choice, stream patched", found.agreement), ("… keeps its old choice (bypass)", found.bypass)]
    return [
        [label, percent(share.value), interval((share.low, share.high), percent)]
        for label, share in shares
        if share is not None
    ]


def _causal(causal: "Faithfulness | None") -> list[list[str]]:
    if causal is None:
        return []
    rows = []
    for label, edits in (("unseen edits", causal.edits), ("foreign edits", causal.foreign_edits)):
        label = f"agreement under {edits.n} {label}"
        rows.append([label, percent(edits.agreement), interval(edits.interval, percent)])
        if edits.agreement_changed is not None:
            label = f"… of {edits.n_changed} that change the answer"
            rows.append([label, percent(edits.agreement_changed)])
    hops = causal.hops
    if hops is not None and hops.rate is not None:
        label = f"hop-skips, of {hops.n_matters} questions"
        rows.append([label, percent(hops.rate), interval(hops.interval, percent)])
    return rows


def _by_layer(found: "Evaluation") -> list[list[str]]:
    fidelity = found.fidelity
    columns: list[tuple[str, tuple[float, ...] | None, Written]] = [
        ("NMSE", fidelity.nmse_layers, _figure),
        ("affine", fidelity.affine_nmse_layers, _figure),
        ("÷", tuple(_ratios(fidelity)), _figure),
        ("active", fidelity.l0_layers, lambda v: f"{v:.1f}"),
        ("dead", fidelity.dead_layers, percent),
        ("contributing", fidelity.contributing_layers, percent),
        ("skip", fidelity.skip_share_layers, percent),
        ("KL alone", found.kl_layers, _figure),
        ("same choice alone", found.top1_match_layers, percent),
    ]
    there = [(name, values, written) for name, values, written in columns if values is not None]
    rows = [["layer", *(name for name, _, _ in there)]]
    layers = range(len(fidelity.nmse_layers))
    return rows + [[str(layer), *(written(values[layer]) for _, values, written in there)] for layer in layers]


def _by_family(report: "EvaluationReport") -> list[list[str]]:
    rows = [["family", "same choice", "", "replacement", "completeness", "path length"]]
    scores = report.traced.families if report.traced is not None else {}
    for index, share in report.found.fidelity.families.items():
        name = report.family(index)
        graphs = scores.get(name, {})
        rows.append(
            [
                name,
                percent(share),
                interval(report.found.intervals.get(f"family {index}"), percent),
                *(f"{graphs[figure]:.3f}" if graphs else NONE for figure in ("replacement", "completeness")),
                f"{graphs['path_length']:.2f}" if graphs else NONE,
            ]
        )
    return rows


def _ratios(fidelity: "Fidelity") -> list[float]:
    pairs = zip(fidelity.nmse_layers, fidelity.affine_nmse_layers, strict=True)
    return [nmse / max(affine, 1e-30) for nmse, affine in pairs]


def _stand_in_name(name: str) -> str:
    return {"affine": "affine maps", "mean": "their mean", "zero": "nothing"}[name]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(value: float) -> str:
    """Three significant digits."""
    if value == 0:
        return "0"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"
