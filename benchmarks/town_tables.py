"""The results of `town_contrasts.py` as tables."""

from collections.abc import Mapping
from typing import Any

from silverstain.cli.output import table
from silverstain.statistics import Share


def shown(results: Mapping[str, Any]) -> str:
    """What was found, to read."""
    plain = results["without_a_basis"]
    bases = {name: one for name, one in results.items() if isinstance(one, dict) and "swap" in one}
    ks = list(next(iter(bases.values()))["swap"]["signed"])
    parts = [
        f"{results['n_pairs']} pairs; {results['drawn_but_answered_wrongly']} more were answered wrongly",
        "Share of the change of the target at the last word: exchanged (mean of both directions), and by the account",
        table([["", "exchanged", *bases], *_layer_rows(plain, bases)], right=range(1, 9)),
        "Account and exchange of 8 outputs: Pearson and Spearman over layers and pairs, R², Spearman in a pair",
        table([["", "", "direction", "Pearson", "Spearman", "R²", "in a pair"], *_agreement_rows(bases)],
              right=range(3, 9)),
        "First choice is the other town's capital, % of pairs: K units at the last word patched into the base",
        table([["", "", *ks, "(units)"], *_swap_rows(bases)], right=range(2, 9)),
        "The same by exchanges and by mean differences",
        table(_other_swaps(plain, bases), right=(1,)),
    ]  # fmt: skip
    return "\n\n".join(parts)


def _layer_rows(plain: Mapping[str, Any], bases: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for part, names in (("streams", "cuts"), ("outputs", "sites")):
        for i, name in enumerate(next(iter(bases.values()))[part][names]):
            exchanged = plain["exchanged"][name]["share_of_the_change"]["both"]
            rows.append(
                [name, *(f"{x:.3f}" for x in (exchanged, *(b[part]["account_share"][i] for b in bases.values())))]
            )
    return rows


def _agreement_rows(bases: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, found in bases.items():
        for way, predictions in found["outputs"]["agreement"].items():
            for key, parts in predictions.items():
                if key == "account" or (way == "both" and name == next(iter(bases))):
                    rows += [_agreement_row(f"{key}{', ' + p if p != 'all' else ''}", name if key == "account" else "",
                                            way, one) for p, one in parts.items()]  # fmt: skip
        for way, one in found["units"]["agreement"].items():
            rows.append(_agreement_row("account of a layer's units", name, way, one))
        rows.append(_agreement_row("account of the stream", name, "both", found["streams"]["agreement"]))
        rows.append(_agreement_row("  beyond m0", name, "both", found["streams"]["agreement_beyond_m0"]))
    return rows


def _agreement_row(what: str, basis: str, way: str, one: Mapping[str, Any]) -> list[str]:
    in_pair = one["mean_spearman_in_a_pair"]
    return [what, basis, way, *(_between(one[key]) for key in ("pearson", "spearman", "r2")),
            "" if in_pair is None else f"{in_pair:.2f}"]  # fmt: skip


def _between(one: Mapping[str, float]) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _swap_rows(bases: Mapping[str, Any]) -> list[list[str]]:
    return [
        [name, order, *(_percent(one) for one in of_order.values()), f"{of_order['all']['mean_units']:.0f}"]
        for name, found in bases.items()
        for order, of_order in found["swap"].items()
    ]


def _other_swaps(plain: Mapping[str, Any], bases: Mapping[str, Any]) -> list[list[str]]:
    rows = [[f"exchange of {name}", _percent(one["turned"])] for name, one in plain["exchanged"].items()]
    rows += [
        [f"mean difference of the stream at {name}", _percent(one)] for name, one in plain["mean_difference"].items()
    ]
    return rows + [
        [f"mean difference of units ({name}), {way}: {one['mean_units']:.0f} units", _percent(one)]
        for name, found in bases.items()
        for way, one in found["mean_difference"].items()
    ]


def _percent(one: Mapping[str, Any]) -> str:
    return str(Share(value=one["share"], low=one["low"], high=one["high"], n=one["n"]))
