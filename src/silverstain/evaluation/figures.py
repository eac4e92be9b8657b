"""Figures from sums over sequences, for any choice of how often each sequence counts."""

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.evaluation.sums import Columns


def stream_figures(columns: Columns, times: Float[Tensor, "draw sequence"]) -> dict[str, Tensor]:
    """NMSE and L0 where sequence s counts `times[draw, s]` times: [draw] in all, [draw, layer] by layer."""
    n = times @ columns["n"]
    error, yy = times @ columns["error"], times @ columns["yy"]
    y = torch.einsum("rs,sld->rld", times, columns["y"])
    variance = (yy - y.square().sum(2) / n[:, None]).clamp_min(1e-30)
    nmse = error / variance
    out = {"nmse_layers": nmse, "nmse": nmse.mean(1), "nmse_pooled": error.sum(1) / variance.sum(1)}
    if "active" in columns:
        l0 = times @ columns["active"] / n[:, None]
        out |= {"l0_layers": l0, "l0": l0.mean(1)}
    if "skip" in columns:
        skip = torch.einsum("rs,sld->rld", times, columns["skip"])
        covariance = times @ columns["skip_y"] - (skip * y).sum(2) / n[:, None]
        out |= {"skip_share_layers": covariance / variance, "skip_share": covariance.sum(1) / variance.sum(1)}
    return out


def output_figures(
    columns: Columns, ce_mean: Float[Tensor, " sequence"] | None, times: Float[Tensor, "draw sequence"]
) -> dict[str, Tensor]:
    """KL, matches and cross-entropies where sequence s counts `times[draw, s]` times; `ce_mean` is the loss with the
    mean output in place of every MLP."""
    n, n_next = times @ columns["n"], (times @ columns["n_next"]).clamp_min(1)
    n_determined = times @ columns["n_determined"]
    ce, ce_replaced = (times @ columns[name] / n_next for name in ("ce", "ce_replaced"))
    out = {
        "kl": times @ columns["kl"] / n,
        "top1_match": times @ columns["match"] / n,
        "top1_match_determined": times @ columns["match_determined"] / n_determined,
        "ce_model": ce,
        "ce_replaced": ce_replaced,
    }
    if ce_mean is not None:
        harm = times @ ce_mean / n_next - ce
        recovered = 1 - (ce_replaced - ce) / harm
        out["ce_recovered"] = torch.where(harm == 0, torch.zeros_like(harm), recovered)
    for family in sorted(set(columns["family"].int().tolist()) - {-1}):
        here = times * (columns["family"] == family)
        out[f"family {family}"] = (here @ columns["match_determined"]) / (here @ columns["n_determined"])
    return out
