"""Feature cards as a table, a row a feature: a Parquet file that DuckDB, pandas and everything else read.

A card has what a `FeatureCard` shows and more: examples by decile, the histogram, tokens through the lens, what drives
the feature, which features are near. Text is stored as the tokenizer gives it and made fit to be shown by who shows it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from silverstain.brief import brief
from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.features.cards import Example, FeatureCard
from silverstain.features.histogram import edges, n_bins, percentile
from silverstain.features.labels import is_supported
from silverstain.notation import feature_name
from silverstain.parts import part_file, unwritable
from silverstain.storage import broken_file, check_is_file, check_writable

if TYPE_CHECKING:
    import pyarrow as pa

    from silverstain.bases import Basis

FORMAT = "silverstain.cards/2"
COLUMNS = (
    "layer", "feature", "label", "label_score", "density", "mean", "minimum", "maximum", "energy", "histogram",
    "promotes", "suppresses", "lens_promotes", "lens_suppresses", "driven_by", "upstream", "nearest", "co_active",
    "writes_to", "examples", "labels",
)  # fmt: skip


def schema() -> "pa.Schema":
    """The types of the columns."""
    import pyarrow as pa

    token = pa.list_(pa.struct({"token": pa.string(), "id": pa.int32(), "weight": pa.float32()}))
    unit = pa.list_(pa.struct({"layer": pa.int32(), "feature": pa.int32(), "weight": pa.float32()}))
    example = pa.struct(
        {
            "group": pa.string(),
            "tokens": pa.list_(pa.string()),
            "at": pa.int32(),
            "activation": pa.float32(),
            "activations": pa.list_(pa.float32()),
        }
    )
    label = pa.struct(
        {
            "text": pa.string(), "kind": pa.string(), "sign": pa.int32(), "source": pa.string(), "score": pa.float32(),
            "precision": pa.float32(), "recall": pa.float32(), "f1": pa.float32(), "auroc": pa.float32(),
            "support": pa.int32(), "scores": pa.string(), "evidence": pa.string(),
        }
    )  # fmt: skip
    kinds = {
        "layer": pa.int32(), "feature": pa.int32(), "label": pa.string(), "label_score": pa.float32(),
        "density": pa.float32(), "mean": pa.float32(), "minimum": pa.float32(), "maximum": pa.float32(),
        "energy": pa.float32(), "histogram": pa.list_(pa.uint32()), "promotes": token, "suppresses": token,
        "lens_promotes": token, "lens_suppresses": token, "driven_by": token, "upstream": unit, "nearest": unit,
        "co_active": unit, "writes_to": pa.list_(pa.int32()), "examples": pa.list_(example), "labels": pa.list_(label),
    }  # fmt: skip
    return pa.schema([(name, kinds[name]) for name in COLUMNS])


@brief
@dataclass(frozen=True)
class CardTable:
    """The cards of one basis: those of features that were active in the text."""

    table: "pa.Table"
    meta: Mapping[str, Any]
    """n_layers, n_features, is_signed, hashes of model and basis, what the text was."""

    @property
    def n_layers(self) -> int:
        return int(self.meta["n_layers"])

    @property
    def n_features(self) -> int:
        """Features of a layer."""
        return int(self.meta["n_features"])

    @property
    def is_signed(self) -> bool:
        return bool(self.meta.get("is_signed"))

    def __len__(self) -> int:
        return self.table.num_rows

    def __iter__(self) -> Iterator[FeatureCard]:
        return (self._card(row) for row in range(len(self)))

    @cached_property
    def key(self) -> np.ndarray:
        """layer · n_features + feature of each row, ascending."""
        layer, feature = (self.table[name].to_numpy().astype(np.int64) for name in ("layer", "feature"))
        return layer * self.n_features + feature

    def row(self, layer: int, feature: int) -> dict[str, Any] | None:
        """Everything on a card, as plain values; None where the feature was never active. UsageError where there is no
        such feature."""
        found = self._row(layer, feature)
        return None if found is None else self.table.slice(found, 1).to_pylist()[0]

    def card(self, layer: int, feature: int) -> FeatureCard | None:
        """The card of one feature; None if it was never active in the text. UsageError if there is no such feature."""
        found = self._row(layer, feature)
        return None if found is None else self._card(found)

    def label(self, layer: int, feature: int) -> str:
        """The label, or a plain L1.F23 for a feature without one."""
        found = self._row(layer, feature)
        return (None if found is None else self._said(found)) or feature_name(layer, feature)

    def supported_label(self, layer: int, feature: int) -> str | None:
        """The label where it has enough support to stand without its figures; else None."""
        found = self._row(layer, feature)
        best = None if found is None else self._best(found)
        if found is None or best is None:
            return None
        enough = is_supported(
            str(best["kind"]), precision=best["precision"], recall=best["recall"], examples=best["support"]
        )
        return self._said(found) if enough else None

    def group_label(self, layer: int, feature: int) -> str | None:
        """The name of the group it belongs to by meaning; None if no label has enough support."""
        return self.supported_label(layer, feature)

    def kind_of(self, layer: int, feature: int) -> str:
        """What its label is about; mixed for a feature without one."""
        found = self._row(layer, feature)
        best = None if found is None else self._best(found)
        return "mixed" if best is None else str(best["kind"])

    def percentile(self, layer: int, feature: int, value: float) -> float | None:
        """The share of the feature's activations below a value, in per cent; None without a card."""
        found = self._row(layer, feature)
        if found is None:
            return None
        counts = np.array(self.table["histogram"][found].as_py(), dtype=np.int64)
        return percentile(counts, value, self.is_signed) if len(counts) == n_bins(self.is_signed) else None

    def histogram(self, layer: int, feature: int) -> tuple[list[float], list[int]] | None:
        """Bounds and counts of the activations, from the first bin that holds any to the last; None where the card has
        no histogram."""
        found = self._row(layer, feature)
        counts = [] if found is None else self.table["histogram"][found].as_py() or []
        held = [at for at, count in enumerate(counts) if count]
        if not held or len(counts) != n_bins(self.is_signed):
            return None
        first, last = held[0], held[-1] + 1
        return edges(self.is_signed)[first : last + 1].tolist(), counts[first:last]

    def search(self, text: str, *, limit: int = 50) -> list[FeatureCard]:
        """Cards with the text in a label, whatever its case, or else as a token they promote; best label first."""
        wanted = text.lower()
        scores = self.table["label_score"].to_pylist()
        by_label = [
            row
            for row, labels in enumerate(self.table["labels"].to_pylist())
            if any(wanted in str(label["text"]).lower() for label in labels or ())
        ]
        rows = sorted(by_label, key=lambda row: -(scores[row] or 0.0))
        if not rows:
            promoted = self.table["promotes"].to_pylist()
            rows = [
                row
                for row, tokens in enumerate(promoted)
                if any(str(token["token"]).strip().lower() == wanted.strip() for token in tokens or ())
            ]
        return [self._card(row) for row in rows[:limit]]

    def most_active(self, n: int) -> list[tuple[int, int]]:
        """The features (layer, feature) of most energy: mean square of the activation over all places."""
        energy = self.table["energy"].to_numpy(zero_copy_only=False)
        rows = np.argsort(-np.nan_to_num(energy), kind="stable")[:n]
        layers, features = (self.table[name].to_pylist() for name in ("layer", "feature"))
        return [(layers[row], features[row]) for row in rows.tolist()]

    def check_fits(self, basis: "Basis") -> None:
        """UsageError when these are the cards of another basis."""
        seen = self.meta.get("dictionary_hash")
        if seen is not None and seen != basis.hash:
            raise UsageError(f"these cards describe the basis {seen}, but this one is {basis.hash}; build cards for it")

    def with_labels(self, labels: "Mapping[tuple[int, int], list[dict[str, Any]]]", **meta: Any) -> "CardTable":
        """The same cards, with these labels in front of the ones they have."""
        import pyarrow as pa

        kept = self.table["labels"].to_pylist()
        keys = zip(self.table["layer"].to_pylist(), self.table["feature"].to_pylist(), strict=True)
        every = [[*labels.get(key, ()), *(old or ())] for key, old in zip(keys, kept, strict=True)]
        kinds = schema()
        columns = {
            "labels": pa.array(every, kinds.field("labels").type),
            "label": pa.array([some[0]["text"] if some else None for some in every], pa.string()),
            "label_score": pa.array([some[0]["score"] if some else None for some in every], pa.float32()),
        }
        return self._with(columns, meta)

    def without_examples(self) -> "CardTable":
        """The same cards without a passage of the text, for those who may not pass it on. Labels still name single
        tokens."""
        import pyarrow as pa

        nothing: list[list[object]] = [[] for _ in range(len(self))]
        return self._with({"examples": pa.array(nothing, schema().field("examples").type)}, {"examples": "left out"})

    def _with(self, columns: "Mapping[str, pa.Array]", meta: Mapping[str, Any]) -> "CardTable":
        table = self.table
        for name, column in columns.items():
            table = table.set_column(table.schema.get_field_index(name), name, column)
        return CardTable(table, {**self.meta, **meta})

    def save(self, path: str | Path) -> None:
        """One Parquet file, whole or not at all; the same cards make the same bytes."""
        import pyarrow.parquet as pq

        path = Path(path)
        check_writable(path)
        table = self.table.replace_schema_metadata(
            {"format": FORMAT, "meta": json.dumps(dict(self.meta), sort_keys=True, ensure_ascii=True)}
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part_file(path.parent) as part:
                pq.write_table(table, part, compression="zstd", compression_level=12, row_group_size=8192)
                part.replace(path)
        except OSError as error:
            raise unwritable(path, error) from error

    @classmethod
    def load(cls, path: str | Path) -> "CardTable":
        """Read what `save` wrote; UsageError naming a missing, corrupt or foreign file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        check_is_file(path)
        try:
            with path.open("rb") as file:  # pyarrow would take a path with :// in it for another place
                table = pq.read_table(file)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise broken_file(path, error) from error
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        kinds = schema()
        if metadata.get("format") != FORMAT or not table.schema.remove_metadata().equals(kinds):
            raise UsageError(f"{path} holds no feature cards ({FORMAT}); build them: silverstain features build")
        try:
            meta = parsed_json(metadata.get("meta", ""))
            if not isinstance(meta, dict) or not all(
                type(meta.get(name)) is int and 0 < meta[name] < 1 << 40 for name in ("n_layers", "n_features")
            ):
                raise ValueError("it does not say how many features there are")
            cards = cls(table, meta)
            n, key = cards.n_layers * cards.n_features, cards.key
            inside = (table["feature"].to_numpy() >= 0).all() and (table["feature"].to_numpy() < cards.n_features).all()
            if len(key) and (not inside or (np.diff(key) <= 0).any() or key[0] < 0 or key[-1] >= n):
                raise ValueError("its features are not in order, twice there, or none of the basis'")
        except (ValueError, TypeError) as error:
            raise broken_file(path, error) from error
        return cards

    @cached_property
    def _labels(self) -> list[str | None]:
        return self.table["label"].to_pylist()

    def _said(self, row: int) -> str | None:
        """The first label; of one that is about a neuron's negative side this is said, as the other is not what it
        names."""
        label, best = self._labels[row], self._best(row)
        return f"{label} (when negative)" if label and best and best["sign"] == -1 else label

    def _best(self, row: int) -> dict[str, Any] | None:
        labels = self.table["labels"][row].as_py()
        return {name: 0.0 if value is None else value for name, value in labels[0].items()} if labels else None

    def _row(self, layer: int, feature: int) -> int | None:
        if not (0 <= layer < self.n_layers and 0 <= feature < self.n_features):
            raise UsageError(
                f"there is no L{layer}.F{feature}: this basis has {self.n_layers} layers of {self.n_features} features"
            )
        wanted = layer * self.n_features + feature
        row = int(np.searchsorted(self.key, wanted))
        return row if row < len(self.key) and int(self.key[row]) == wanted else None

    def _card(self, row: int) -> FeatureCard:
        entry = self.table.slice(row, 1).to_pylist()[0]
        best = self._best(row) or {}
        layer, feature = entry["layer"], entry["feature"]
        return FeatureCard(
            layer=layer,
            feature=feature,
            label=self._said(row) or feature_name(layer, feature),
            kind=str(best.get("kind") or "mixed"),
            subject=str(best.get("text") or ""),
            **{name: float(best.get(name) or 0.0) for name in ("precision", "recall", "f1", "auroc")},
            support=int(best.get("support") or 0),
            density=entry["density"],
            mean_activation=entry["mean"] or 0.0,  # not known of cards of other tools
            max_activation=max(entry["maximum"], -entry["minimum"]),
            promotes=tuple((token["token"], token["weight"] or 0.0) for token in entry["promotes"] or ()),
            suppresses=tuple((token["token"], token["weight"] or 0.0) for token in entry["suppresses"] or ()),
            examples=tuple(
                Example(tokens=tuple(one["tokens"]), index=one["at"], activation=one["activation"])
                for one in entry["examples"] or ()
                if one["group"].startswith("top")
            ),
        )
