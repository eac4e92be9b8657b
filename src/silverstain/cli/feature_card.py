"""One card in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from silverstain.printable import printable

WIDEST = 110


def card_text(row: Mapping[str, Any], *, n_examples: int, value: float | None, percentile: float | None) -> str:
    """A card as lines of text, strangers' text fit to be shown."""
    lines = [f"L{row['layer']}.F{row['feature']}  {_shown(row['label'] or 'no label')}"]
    least = f", least {row['minimum']:.3g}" if row["minimum"] < 0 else ""
    mean = "" if row["mean"] is None else f" mean {row['mean']:.3g},"
    lines.append(f"  active at {100 * row['density']:.3g} % of places;{mean} greatest {row['maximum']:.3g}{least}")
    if value is not None:
        where = "unknown" if percentile is None else f"above {percentile:.1f} % of its activations"
        lines.append(f"  {value:g} is {where}")
    for label in row["labels"] or ():
        side = " when negative" if label["sign"] == -1 else ""
        figures = [
            f"{name} {label[name]:.2f}" for name in ("score", "precision", "recall") if label.get(name) is not None
        ]
        lines.append(f"  label{side}: {_shown(label['text'])} ({label['kind']}; {', '.join(figures) or 'untested'})")
    for title, column in (
        ("promotes", "promotes"), ("suppresses", "suppresses"), ("promotes, through the lens", "lens_promotes"),
        ("suppresses, through the lens", "lens_suppresses"), ("reads embeddings", "driven_by"),
    ):  # fmt: skip
        if row[column]:
            lines.append(f"  {title}: " + ", ".join(_shown(token["token"]) for token in row[column]))
    for title, column in (
        ("driven by", "upstream"), ("writes like", "nearest"), ("active with", "co_active"),
    ):  # fmt: skip
        if row[column]:
            lines.append(
                f"  {title}: "
                + ", ".join(f"L{unit['layer']}.F{unit['feature']} ({unit['weight']:+.2f})" for unit in row[column])
            )
    lines.append(f"  writes to layers {', '.join(map(str, row['writes_to'] or ())) or 'none'}")
    if n_examples:
        lines += _examples(row["examples"] or (), n_examples)
    return "\n".join(lines)


def _examples(examples: Sequence[Mapping[str, Any]], n: int) -> list[str]:
    lines, group, shown = [], "", 0
    for one in examples:
        if one["group"] != group:
            group, shown = one["group"], 0
            lines.append(f"  {group}")
        shown += 1
        if shown <= n:
            tokens = [_shown(token) for token in one["tokens"]]
            at = one["at"]
            words = "".join(tokens[:at]) + f"»{tokens[at]}«" + "".join(tokens[at + 1 :])
            if not any(token.startswith(" ") for token in tokens):  # a vocabulary of whole words
                words = " ".join(f"»{token}«" if i == at else token for i, token in enumerate(tokens))
            lines.append(f"    {one['activation']:8.3g}  {words[:WIDEST]}")
    return lines


def _shown(text: Any) -> str:
    return printable(str(text), 200).replace("\n", "⏎")
