"""Labels of a person's, or of another tool, from a file: JSONL, an object a line.

    {"layer": 3, "feature": 1501, "text": "towns of Texas", "kind": "by hand", "sign": 1, "score": 0.9}

`layer`, `feature` and `text` must be there; `kind` is any word, and what else a line has is kept as its evidence.
"""

from pathlib import Path
from typing import Any

from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.features.card_table import CardTable
from silverstain.features.naming import label_entry
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.storage import broken_file, check_is_file

LONGEST = 500
"""Characters of a label."""
LARGEST = 1 << 30


def read_labels(
    path: str | Path, cards: CardTable, *, skip_unknown: bool = False
) -> tuple[dict[tuple[int, int], list[dict[str, Any]]], int]:
    """Labels by feature, and how many lines are about features without a card. UsageError for a line that is no label,
    for two of one kind and sign for one feature, and, unless they are to be skipped, for unknown features."""
    path = Path(path)
    check_is_file(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is larger than any file of labels")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise broken_file(path, error) from error
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    seen: dict[tuple[int, int, str, int], int] = {}
    unknown: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _entry(line, f"{shown_path(path)}, line {number}")
        layer, feature = entry["layer"], entry["feature"]
        inside = 0 <= layer < cards.n_layers and 0 <= feature < cards.n_features
        if not inside or cards.row(layer, feature) is None:
            unknown.append((number, f"L{layer}.F{feature}"))
            continue
        label = _label(entry)
        key = (layer, feature, label["kind"], label["sign"])
        if key in seen:
            raise UsageError(
                f"{shown_path(path)} labels L{layer}.F{feature} twice, in lines {seen[key]} and {number}; keep one, or "
                "give them different kinds"
            )
        seen[key] = number
        found.setdefault((layer, feature), []).append(label)
    if unknown and not skip_unknown:
        number, name = unknown[0]
        raise UsageError(
            f"{shown_path(path)}, line {number}: {name} has no card here ({len(unknown)} such lines); the labels may "
            "be of another dictionary: check that, or leave such lines out (--skip-unknown)"
        )
    return found, len(unknown)


def _entry(line: str, where: str) -> dict[str, Any]:
    try:
        entry = parsed_json(line)
    except ValueError as error:
        raise UsageError(f"{where} is no JSON; write one object a line") from error
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is no object; write layer, feature and text")
    for name in ("layer", "feature"):
        if type(entry.get(name)) is not int or abs(entry[name]) > 1 << 40:
            raise UsageError(f"{where}: {name} is {printable(str(entry.get(name)), 40)}; give a whole number")
    if not isinstance(entry.get("text"), str) or not entry["text"].strip():
        raise UsageError(f"{where} has no text; give the words of the label")
    if entry.get("sign", 1) not in (1, -1) or isinstance(entry.get("sign", 1), bool):
        raise UsageError(f"{where}: sign is {printable(str(entry['sign']), 40)}; give 1 or -1")
    score = entry.get("score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        raise UsageError(f"{where}: score is {printable(str(score), 40)}; give a number or leave it out")
    return entry


def _label(entry: dict[str, Any]) -> dict[str, Any]:
    known = {"layer", "feature", "text", "kind", "sign", "score", "source"}
    label = label_entry(
        entry["text"].strip()[:LONGEST],
        str(entry.get("kind") or "given")[:80],
        sign=entry.get("sign", 1),
        source=str(entry.get("source") or "file")[:80],
        score=entry.get("score"),
        evidence={name: value for name, value in entry.items() if name not in known},
    )
    del label["_order"]
    return label
