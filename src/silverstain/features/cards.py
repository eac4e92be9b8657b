"""Feature cards: what is known about each feature of a dictionary, as one value and one compact file.

Only features that fired have a card. The columns are arrays (a card is some 300 bytes), and a `FeatureCard` is one row
of them in words; labels are not stored but follow from kind and subject.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from silverstain.bases import ActiveUnits, Dictionary
from silverstain.brief import brief
from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.features.labels import KINDS, group_label_of, is_supported, label_of
from silverstain.notation import feature_name
from silverstain.storage import broken_file, read_tensors, save_tensors_whole
from silverstain.validation import Count, FromOutside, ShortText, validated

FORMAT = "silverstain.cards/1"
COLUMNS = (
    "key", "density", "mean_activation", "max_activation", "kind", "fit", "support", "promoted", "promoted_effect",
    "suppressed", "suppressed_effect", "windows", "window_activation",
)  # fmt: skip


REAL = {
    "density", "mean_activation", "max_activation", "fit", "promoted_effect", "suppressed_effect", "window_activation",
}  # fmt: skip
"""Columns of real numbers; the others are whole."""
AXES = {
    "fit": 2, "promoted": 2, "promoted_effect": 2, "suppressed": 2, "suppressed_effect": 2, "windows": 3,
    "window_activation": 2,
}  # fmt: skip


class CardsText(FromOutside):
    """What a file of cards says in words."""

    n_layers: Count
    n_features: Count
    centre: Count
    subjects: list[ShortText]
    tokens: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], ShortText]
    meta: dict[str, Any]


@brief
@dataclass(frozen=True, kw_only=True)
class Example:
    """A piece of text in which a feature fired."""

    tokens: tuple[str, ...]
    index: int
    """Which of the tokens it fired on."""
    activation: float


@brief
@dataclass(frozen=True, kw_only=True)
class FeatureCard:
    """Everything known about one feature."""

    layer: int
    feature: int
    label: str
    kind: str
    """What the label is about: a word, the next word, a hidden value, a class of words; mixed: nothing fits."""
    subject: str
    precision: float
    """Share of its activation that lies in the class of the label; 0 for mixed."""
    recall: float
    """Share of the class in which it fires."""
    f1: float
    auroc: float
    support: int
    """Places or sentences of that class in the corpus."""
    density: float
    """Share of the corpus' places where it fires."""
    mean_activation: float
    """Where it fires."""
    max_activation: float
    promotes: tuple[tuple[str, float], ...]
    """Tokens with the largest direct effect at unit activation."""
    suppresses: tuple[tuple[str, float], ...]
    examples: tuple[Example, ...]
    """Strongest first, from different sentences."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@brief
@dataclass(frozen=True, kw_only=True)
class Cards:
    """The cards of one dictionary."""

    n_layers: int
    n_features: int
    key: Int[Tensor, " card"]
    """layer · n_features + feature, ascending."""
    density: Float[Tensor, " card"]
    mean_activation: Float[Tensor, " card"]
    max_activation: Float[Tensor, " card"]
    kind: Int[Tensor, " card"]
    """Index into labels.KINDS."""
    fit: Float[Tensor, "card 4"]
    """Precision, recall, F1, AUROC of the class that names it."""
    support: Int[Tensor, " card"]
    promoted: Int[Tensor, "card token"]
    promoted_effect: Float[Tensor, "card token"]
    suppressed: Int[Tensor, "card token"]
    suppressed_effect: Float[Tensor, "card token"]
    windows: Int[Tensor, "card example width"]
    """Token ids with the firing token at index `centre`; -1 outside the sentence, all -1 where there is no example."""
    window_activation: Float[Tensor, "card example"]
    centre: int
    subjects: tuple[str, ...]
    tokens: Mapping[int, str]
    """Strings of all token ids that occur here."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Hashes of model and dictionary, size of the corpus."""

    def __len__(self) -> int:
        return len(self.key)

    def __iter__(self) -> Iterator[FeatureCard]:
        return (self._card(row) for row in range(len(self)))

    def card(self, layer: int, feature: int) -> FeatureCard | None:
        """The card of one feature; None if it never fired in the corpus. UsageError if there is no such feature."""
        row = self._row(layer, feature)
        return None if row is None else self._card(row)

    def label(self, layer: int, feature: int) -> str:
        """The label, or a plain L1.F23 for a feature without a card."""
        row = self._row(layer, feature)
        return feature_name(layer, feature) if row is None else label_of(KINDS[int(self.kind[row])], self.subjects[row])

    def group_label(self, layer: int, feature: int) -> str | None:
        """The name of the group it belongs to by meaning; None if no class fits it with support (`is_supported`)."""
        row = self._supported_row(layer, feature)
        return None if row is None else group_label_of(KINDS[int(self.kind[row])], self.subjects[row])

    def supported_label(self, layer: int, feature: int) -> str | None:
        """The label where it has enough support to stand without its figures; else None."""
        row = self._supported_row(layer, feature)
        return None if row is None else label_of(KINDS[int(self.kind[row])], self.subjects[row])

    def kind_of(self, layer: int, feature: int) -> str:
        """What its label is about; mixed for a feature without a card."""
        row = self._row(layer, feature)
        return "mixed" if row is None else KINDS[int(self.kind[row])]

    def search(self, text: str, *, limit: int = 50) -> list[FeatureCard]:
        """Cards whose label holds the text, whatever its case; the best fitting first."""
        wanted = text.lower()
        rows = [
            row
            for row in range(len(self))
            if wanted in label_of(KINDS[int(self.kind[row])], self.subjects[row]).lower()
        ]
        rows.sort(key=lambda row: -float(self.fit[row, 2]))
        return [self._card(row) for row in rows[:limit]]

    def save(self, path: str | Path) -> None:
        """Write one file, whole or not at all."""
        tensors = {name: _compact(getattr(self, name)) for name in COLUMNS}
        text = {
            "n_layers": self.n_layers,
            "n_features": self.n_features,
            "centre": self.centre,
            "subjects": list(self.subjects),
            "tokens": {str(token): string for token, string in self.tokens.items()},
            "meta": dict(self.meta),
        }
        save_tensors_whole(Path(path), tensors, {"format": FORMAT, "text": json.dumps(text, ensure_ascii=False)})

    @classmethod
    def load(cls, path: str | Path) -> "Cards":
        """Read what `save` wrote; UsageError naming a missing, corrupt or foreign file."""
        path = Path(path)
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT or set(tensors) != set(COLUMNS):
            raise UsageError(f"{path} holds no feature cards ({FORMAT}); build them with build_cards and save those.")
        try:
            text = validated(CardsText, parsed_json(metadata.get("text", "")), path, "build the cards again")
            _check_columns(tensors, text)
        except ValueError as error:
            raise broken_file(path, error) from error
        columns = {
            name: tensor.float() if tensor.is_floating_point() else tensor.long() for name, tensor in tensors.items()
        }
        return cls(
            **columns,
            n_layers=text.n_layers,
            n_features=text.n_features,
            centre=text.centre,
            subjects=tuple(text.subjects),
            tokens={int(token): string for token, string in text.tokens.items()},
            meta=text.meta,
        )

    def check_fits(self, dictionary: Dictionary) -> None:
        """UsageError when these are the cards of another dictionary."""
        seen = self.meta.get("dictionary_hash")
        if seen is not None and seen != dictionary.hash:
            raise UsageError(
                f"These cards describe the dictionary {seen}, but this one is {dictionary.hash}; build cards for it."
            )

    def _row(self, layer: int, feature: int) -> int | None:
        if not (0 <= layer < self.n_layers and 0 <= feature < self.n_features):
            raise UsageError(
                f"There is no L{layer}.F{feature}: this dictionary has {self.n_layers} layers of "
                f"{self.n_features} features."
            )
        wanted = layer * self.n_features + feature
        row = int(torch.searchsorted(self.key, wanted))
        return row if row < len(self.key) and int(self.key[row]) == wanted else None

    def _supported_row(self, layer: int, feature: int) -> int | None:
        row = self._row(layer, feature)
        if row is None:
            return None
        precision, recall = self.fit[row, :2].tolist()
        kind, examples = KINDS[int(self.kind[row])], int(self.support[row])
        return row if is_supported(kind, precision=precision, recall=recall, examples=examples) else None

    def _card(self, row: int) -> FeatureCard:
        layer, feature = divmod(int(self.key[row]), self.n_features)
        kind = KINDS[int(self.kind[row])]
        precision, recall, f1, auroc = self.fit[row].tolist()
        return FeatureCard(
            layer=layer,
            feature=feature,
            label=label_of(kind, self.subjects[row]),
            kind=kind,
            subject=self.subjects[row],
            precision=precision,
            recall=recall,
            f1=f1,
            auroc=auroc,
            support=int(self.support[row]),
            density=float(self.density[row]),
            mean_activation=float(self.mean_activation[row]),
            max_activation=float(self.max_activation[row]),
            promotes=self._effects(self.promoted[row], self.promoted_effect[row]),
            suppresses=self._effects(self.suppressed[row], self.suppressed_effect[row]),
            examples=tuple(self._examples(row)),
        )

    def _effects(self, ids: Tensor, effects: Tensor) -> tuple[tuple[str, float], ...]:
        return tuple((self.tokens[token], effect) for token, effect in zip(ids.tolist(), effects.tolist(), strict=True))

    def _examples(self, row: int) -> Iterator[Example]:
        for window, activation in zip(self.windows[row].tolist(), self.window_activation[row].tolist(), strict=True):
            if window[self.centre] >= 0:
                before = sum(token >= 0 for token in window[: self.centre])
                tokens = tuple(self.tokens[token] for token in window if token >= 0)
                yield Example(tokens=tokens, index=before, activation=activation)


def _check_columns(tensors: Mapping[str, Tensor], text: CardsText) -> None:
    """ValueError unless there is one row a card in every column, and what it names is there."""
    n = tensors["key"].numel()
    for name, tensor in tensors.items():
        wanted_axes = AXES.get(name, 1)
        if tensor.ndim != wanted_axes or len(tensor) != n:
            raise ValueError(f"the column {name!r} has the shape {tuple(tensor.shape)}, {n} cards were expected")
        if tensor.is_floating_point() is not (name in REAL) or tensor.dtype == torch.bool:
            raise ValueError(f"the column {name!r} is of type {tensor.dtype}")
    for ids, effects in (("promoted", "promoted_effect"), ("suppressed", "suppressed_effect")):
        if tensors[ids].shape != tensors[effects].shape:
            raise ValueError(f"{ids!r} and {effects!r} are of different shapes")
    if tensors["fit"].shape[1] != 4 or tensors["windows"].shape[:2] != tensors["window_activation"].shape:
        raise ValueError("its examples or measures are of different shapes")
    if len(text.subjects) != n or (n and text.centre >= tensors["windows"].shape[2]):
        raise ValueError(f"it names {len(text.subjects)} features, and has {n} cards")
    key, kind = tensors["key"].long(), tensors["kind"].long()
    if n and (bool((key.diff() <= 0).any()) or int(key[0]) < 0 or int(key[-1]) >= text.n_layers * text.n_features):
        raise ValueError("its features are not in order, or are none of the dictionary's")
    if n and not 0 <= int(kind.min()) <= int(kind.max()) < len(KINDS):
        raise ValueError("a label is of no known kind")
    named = {id for ids in ("promoted", "suppressed", "windows") for id in tensors[ids].unique().tolist()} - {-1}
    unknown = named - {int(token) for token in text.tokens}
    if unknown:
        raise ValueError(f"the token {min(unknown)} has no text")


def places_of_kind(
    cards: Cards, active: ActiveUnits, variable: str, *, positions: Collection[int] | None = None
) -> list[tuple[int, int, int]]:
    """(layer, position, feature) of the active features that stand for a value of `variable`: what a swap of that
    variable silences in one prompt and moves over from another."""
    columns = zip(active.layer.tolist(), active.position.tolist(), active.feature.tolist(), strict=True)
    return [
        (layer, position, feature)
        for layer, position, feature in columns
        if (positions is None or position in positions)
        and (card_row := cards._row(layer, feature)) is not None
        and KINDS[int(cards.kind[card_row])] == "value"
        and cards.subjects[card_row].startswith(f"{variable} = ")
    ]


def _compact(column: Tensor) -> Tensor:
    """Half precision for what is only shown; the smallest integer type that holds the values."""
    if column.is_floating_point():
        return column.to(torch.float16) if column.ndim > 1 else column.to(torch.float32)
    low, high = (int(column.min()), int(column.max())) if column.numel() else (0, 0)
    for dtype in (torch.int8, torch.int16, torch.int32):
        if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
            return column.to(dtype)
    return column
