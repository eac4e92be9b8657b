"""Cards as circuit-tracer's packed features: `index.json.gz`, and a file of records a layer, which its viewer reads.

A record is four bytes of length (little-endian) and that many bytes of zlib-compressed JSON: examples by quantile with
the activation of every token, tokens promoted and suppressed, quantiles and histogram of the activation. Where a card
does not have the activation of a token, the record says 0, as the format has no other word for it.
"""

import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.features.card_table import CardTable, schema
from silverstain.features.histogram import edges, n_bins, quantiles
from silverstain.parts import shown_path
from silverstain.storage import broken_file, check_is_file, write_bytes_whole

INDEX = "index.json.gz"
LARGEST_RECORD = 16 << 20
MOST_FEATURES = 1 << 24
BARS = 50
"""Of a histogram as viewers draw it, evenly spaced."""


def write_packed(cards: CardTable, folder: str | Path) -> int:
    """Write every feature's record (of features without a card an empty one); how many cards there are."""
    folder = Path(folder)
    index = []
    for layer in range(cards.n_layers):
        offsets, parts = [0], []
        for feature in range(cards.n_features):
            row = cards.row(layer, feature)
            data = json.dumps(feature_json(row, cards) if row else _empty(cards, layer, feature)).encode()
            packed = zlib.compress(data)
            parts.append(struct.pack("<I", len(packed)) + packed)
            offsets.append(offsets[-1] + len(parts[-1]))
        name = f"layer_{layer}.bin"
        write_bytes_whole(folder / name, b"".join(parts))
        index.append({"filename": name, "offsets": offsets})
    write_bytes_whole(folder / INDEX, gzip.compress(json.dumps(index).encode(), mtime=0))
    return len(cards)


def feature_json(row: Mapping[str, Any], cards: CardTable) -> dict[str, Any]:
    """A card as circuit-tracer's feature file has it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in row["examples"] or ():
        groups.setdefault(one["group"], []).append(one)
    counts = np.array(row["histogram"] or (), dtype=np.int64)
    known = len(counts) == n_bins(cards.is_signed) and counts.sum() > 0
    values = quantiles(counts, np.arange(1, 101) / 100, cards.is_signed) if known else np.zeros(0)
    return {
        "transcoder_id": str(cards.meta.get("dictionary") or ""),
        "index": int(row["feature"]),
        "examples_quantiles": [
            {"quantile_name": _quantile_name(group), "examples": [_example(one) for one in some]}
            for group, some in groups.items()
        ],
        "top_logits": [token["token"] for token in row["promotes"] or ()],
        "bottom_logits": [token["token"] for token in row["suppresses"] or ()],
        "act_min": float(row["minimum"]),
        "act_max": float(row["maximum"]),
        "quantile_values": [float(value) for value in values],
        "histogram": _bars(counts, row, cards.is_signed) if known else [],
        "activation_frequency": float(row["density"]),
        "label": row["label"],
    }


def read_packed(folder: str | Path) -> CardTable:
    """The cards of a folder of packed features: examples, tokens, density; UsageError naming what is broken."""
    import pyarrow as pa

    folder = Path(folder)
    index = _index(folder)
    rows = [row for layer, entry in index for row in _layer_rows(folder, layer, entry)]
    n_features = max((len(entry["offsets"]) - 1 for _, entry in index), default=0)
    if not n_features or n_features * len(index) > MOST_FEATURES:
        raise UsageError(f"{shown_path(folder)} has no features, or too many; check the folder")
    kinds = schema()
    table = pa.table({name: pa.array([row[name] for row in rows], kinds.field(name).type) for name in kinds.names})
    meta = {
        "n_layers": max(layer for layer, _ in index) + 1, "n_features": n_features, "is_signed": False,
        "dictionary": rows[0]["_id"] if rows else "", "source": "circuit-tracer's packed features",
    }  # fmt: skip
    return CardTable(table, meta)


def _index(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    path = folder / INDEX
    check_is_file(path)
    try:
        with gzip.open(path) as file:
            found = parsed_json(file.read(LARGEST_RECORD * 8).decode())
        entries = (
            list(enumerate(found)) if isinstance(found, list) else sorted((int(k), v) for k, v in dict(found).items())
        )
        for layer, entry in entries:
            offsets = entry["offsets"]
            if not 0 <= layer < 10_000 or not all(type(at) is int and at >= 0 for at in offsets):
                raise ValueError(f"the offsets of layer {layer} are no numbers")
            if any(b < a for a, b in pairwise(offsets)):
                raise ValueError(f"the offsets of layer {layer} do not rise")
            if not re.fullmatch(r"[\w.-]{1,200}", entry["filename"]) or entry["filename"].startswith("."):
                raise ValueError(f"layer {layer} names a file outside of the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error) as error:
        raise broken_file(path, error) from error
    return entries


def _layer_rows(folder: Path, layer: int, entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    path = folder / entry["filename"]
    check_is_file(path)
    with path.open("rb") as file:
        for feature, (start, stop) in enumerate(pairwise(entry["offsets"])):
            try:
                if stop - start < 4 or stop - start > LARGEST_RECORD:
                    raise ValueError(f"the record of feature {feature} has {stop - start} bytes")
                file.seek(start)
                (length,) = struct.unpack("<I", file.read(4))
                if length > stop - start - 4:
                    raise ValueError(f"the record of feature {feature} is longer than its place")
                row = _row(parsed_json(_inflated(file.read(length)).decode()), layer, feature)
            except (OSError, ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
                raise broken_file(path, error) from error
            if row is not None:
                yield row


def _inflated(data: bytes) -> bytes:
    """zlib or gzip, within bounds."""
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
    found = decompressor.decompress(data, LARGEST_RECORD)
    if decompressor.unconsumed_tail:
        raise ValueError("a record is larger than any card")
    return found


def _row(record: Any, layer: int, feature: int) -> dict[str, Any] | None:
    """A record as a row of cards; None of a feature that was never active."""
    examples = []
    for quantile in record["examples_quantiles"]:
        for one in quantile["examples"]:
            tokens, values = [str(token) for token in one["tokens"]], [float(v) for v in one["tokens_acts_list"]]
            if len(tokens) != len(values) or not tokens:
                raise ValueError(f"an example of feature {feature} has not one activation a token")
            at = int(one.get("train_token_ind", int(np.argmax(values))))
            at = at if 0 <= at < len(tokens) else int(np.argmax(values))
            group = str(quantile["quantile_name"])
            name = "top" if group.lower().startswith("top") and "neg" not in group.lower() else group
            examples.append(
                {"group": name, "tokens": tokens, "at": at, "activation": values[at], "activations": values}
            )
    if not examples:
        return None
    tokens = {
        column: [{"token": str(token), "id": -1, "weight": None} for token in record.get(name) or ()]
        for column, name in (("promotes", "top_logits"), ("suppresses", "bottom_logits"))
    }
    label = record.get("label")
    empty: dict[str, Any] = {
        name: [] for name in ("lens_promotes", "lens_suppresses", "driven_by", "upstream", "nearest", "co_active")
    }
    return {
        "_id": str(record.get("transcoder_id") or ""), "layer": layer, "feature": feature,
        "label": None if label is None else str(label), "label_score": None,
        "density": float(record.get("activation_frequency") or 0.0), "mean": None,
        "minimum": float(record.get("act_min") or 0.0),
        "maximum": float(record.get("act_max") or max(one["activation"] for one in examples)), "energy": None,
        "histogram": [], "writes_to": [], "examples": examples, "labels": [], **tokens, **empty,
    }  # fmt: skip


def _empty(cards: CardTable, layer: int, feature: int) -> dict[str, Any]:
    del layer
    return {
        "transcoder_id": str(cards.meta.get("dictionary") or ""), "index": feature, "examples_quantiles": [],
        "top_logits": [], "bottom_logits": [], "act_min": 0.0, "act_max": 0.0, "quantile_values": [], "histogram": [],
        "activation_frequency": 0.0, "label": None,
    }  # fmt: skip


def _quantile_name(group: str) -> str:
    return {"top": "Top activations", "top negative": "Top negative activations"}.get(group, group.capitalize())


def _example(one: Mapping[str, Any]) -> dict[str, Any]:
    values = list(one["activations"] or ())
    if not values:
        values = [0.0] * len(one["tokens"])
        values[one["at"]] = one["activation"]
    return {
        "tokens": list(one["tokens"]), "tokens_acts_list": values, "train_token_ind": one["at"],
        "is_repeated_datapoint": False,
    }  # fmt: skip


def _bars(counts: np.ndarray, row: Mapping[str, Any], is_signed: bool) -> list[float]:
    """Counts in evenly spaced bars from the least to the greatest activation."""
    below = np.concatenate([[0], np.cumsum(counts)])
    ends = np.linspace(float(row["minimum"]), float(row["maximum"]), BARS + 1)
    return np.diff(np.interp(ends, edges(is_signed), below)).round(2).tolist()
