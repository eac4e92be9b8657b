"""How faithful a trained dictionary is, measured on held-out text and told."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.cli import output
from silverstain.cli.evaluate import traced_scores
from silverstain.cli.train_material import Material

if TYPE_CHECKING:
    from silverstain.models import LanguageModel
    from silverstain.training import TrainingConfig

FIGURES = (
    "l0", "nmse", "affine_nmse", "nmse_ratio", "explained_variance", "dead", "kl", "top1_match", "ce_model",
    "ce_replaced", "ce_recovered",
)  # fmt: skip
WORDS = {
    "l0": "active features a token and layer",
    "nmse": "NMSE, mean over layers",
    "affine_nmse": "  of an affine map in place of each MLP",
    "explained_variance": "explained variance",
    "dead": "features active on none of the tokens",
    "kl": "KL, all MLPs replaced, nats a token",
    "top1_match": "same next token as the model",
    "ce_recovered": "cross-entropy recovered",
    "replacement": "replacement score",
    "completeness": "completeness score",
    "tokens_per_second": "tokens a second in training",
    "matrix_share": "share of this machine's rate of products",
}


def measure(
    host: "LanguageModel", material: Material, config: "TrainingConfig", out: Path, *, quiet: bool
) -> dict[str, Any]:
    """How faithful the dictionary in `out` is on held-out text."""
    from silverstain.evaluation import evaluate_dictionary
    from silverstain.evaluation.remarks import remarks
    from silverstain.training.runs import open_trained

    dictionary = open_trained(out)
    fidelity = evaluate_dictionary(host, dictionary, material.held_out)
    traced = traced_scores(host, dictionary, material.prompts, l0=fidelity.l0, quiet=quiet)
    return {
        "dictionary": str(out), "model": host.name, "kind": config.kind, "n_layers": host.n_layers,
        "n_features": config.n_features, "steps": config.n_steps, "held_out_tokens": fidelity.n_tokens,
        **{key: getattr(fidelity, key) for key in FIGURES}, "l0_layers": fidelity.l0_layers,
        "nmse_layers": fidelity.nmse_layers, "replacement": traced and traced.replacement,
        "completeness": traced and traced.completeness,
        "remarks": remarks(fidelity, d_model=host.d_model, d_vocab=host.d_vocab),
    }  # fmt: skip


def tell_figures(found: dict[str, Any], model: str, out: Path) -> None:
    output.data(output.table([[WORDS[key], _figure(found[key])] for key in WORDS if found.get(key) is not None]))
    for line in found["remarks"]:
        output.talk(line)
    if found["kind"] != "molt":
        output.talk(f'\nWrote {out}. Next: silverstain trace "…" --model {model} --dictionary {out}')


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.4f}"
