"""From what one pass of text has left to cards: examples, figures, what the weights say, and labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from silverstain.bases import Basis
from silverstain.features.card_table import CardTable, schema
from silverstain.features.histogram import percentile, percentiles
from silverstain.features.lens import Lens
from silverstain.features.rows import BEFORE
from silverstain.features.streaming import Seen
from silverstain.features.wiring import Ranked, Wiring, embeddings_read, written
from silverstain.models import LanguageModel

A_DECILE = 2
"""Examples of each decile on a card."""
MOST_NEAR = 200_000
"""Features among which those near are looked for: of more, each against each takes hours."""


@dataclass(frozen=True, kw_only=True)
class CardSettings:
    """How much stands on a card."""

    tokens: int = 8
    near: int = 5
    top: int = 8
    deciles: int = A_DECILE
    activations: bool = True
    """The activation at each token of an example, where it was kept."""
    drivers: bool = True
    nearest: bool = True
    histogram: bool = True


COMPACT = CardSettings(
    tokens=5, near=0, top=2, deciles=0, activations=False, drivers=False, nearest=False, histogram=False
)
"""What fits in half a kilobyte."""


def assemble(
    seen: Seen,
    model: LanguageModel,
    basis: Basis,
    *,
    lens: Lens | None = None,
    settings: CardSettings | None = None,
    meta: dict[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> CardTable:
    """The cards of all features that were active, without labels (`naming`)."""
    import pyarrow as pa

    settings = settings or CardSettings()
    if lens is not None:
        lens.check_fits(model)
    texts = Texts(seen, model)
    sizes, arrays = seen.tally.sizes, seen.tally.arrays
    alive = torch.from_numpy(np.flatnonzero(arrays["count"].reshape(-1) > 0))
    is_near = 0 < len(alive) <= MOST_NEAR and (settings.nearest or settings.drivers)
    wiring = Wiring(model, basis, alive) if is_near else None
    rms = np.sqrt(arrays["squares"].reshape(-1)[alive] / np.maximum(arrays["count"].reshape(-1)[alive], 1))
    tables = []
    for layer in range(sizes.n_layers):
        features = (alive[alive // sizes.n_features == layer] - layer * sizes.n_features).tolist()
        columns: dict[str, Any] = dict(_figures(seen, layer, features))
        columns |= _words(model, basis, layer, features, lens, settings, texts)
        columns |= _neighbours(seen, wiring, alive, layer, features, torch.from_numpy(rms).float(), settings)
        columns["histogram"] = [
            arrays["histogram"][layer, feature].tolist() if settings.histogram else [] for feature in features
        ]
        columns["writes_to"] = [list(basis.targets(layer))] * len(features)
        columns["examples"] = [_examples(seen, texts, layer, feature, settings) for feature in features]
        columns |= {"labels": [[]] * len(features), "label": [None] * len(features)}
        columns["label_score"] = [None] * len(features)
        kinds = schema()
        tables.append(pa.table({name: pa.array(columns[name], kinds.field(name).type) for name in kinds.names}))
        if on_progress is not None:
            on_progress(layer + 1, sizes.n_layers)
    about = {
        "n_layers": sizes.n_layers,
        "n_features": sizes.n_features,
        "is_signed": sizes.is_signed,
        "model": model.name,
        "model_hash": model.hash,
        "dictionary": basis.name,
        "dictionary_hash": basis.hash,
        "places": seen.text.n_places,
        "rows": len(seen.text.starts) - 1,
        "products": seen.products,
        "never_active": sizes.n_layers * sizes.n_features - len(alive),
        "leading_places_left_out": model.n_real,
        "lens": None if lens is None else lens.hash,
    }
    return CardTable(pa.concat_tables(tables), about | (meta or {}))


class Texts:
    """Places as the tokens around them."""

    def __init__(self, seen: Seen, model: LanguageModel) -> None:
        self.seen = seen
        self._model = model
        self._known: dict[int, str] = {-1: ""}

    def string(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = self._model.token_strings([token])[0]
        return self._known[token]

    def example(
        self, group: str, place: int, value: float, around: Float[np.ndarray, " width"] | None
    ) -> dict[str, Any]:
        """An example as a card has it."""
        window = self.seen.text.windows(np.array(place))
        inside = window >= 0
        return {
            "group": group,
            "tokens": [self.string(token) for token in window[inside].tolist()],
            "at": int(inside[:BEFORE].sum()),
            "activation": float(value),
            "activations": [] if around is None else np.round(around[inside].astype(np.float32), 4).tolist(),
        }


def _figures(seen: Seen, layer: int, features: Sequence[int]) -> Iterator[tuple[str, Any]]:
    arrays, sizes = seen.tally.arrays, seen.tally.sizes
    count = arrays["count"][layer][features]
    strongest = -arrays["top.score"][layer].reshape(sizes.n_features, sizes.sides, -1)[features][:, :, 0]
    strongest = np.where(np.isfinite(strongest), strongest, 0.0)
    density = count / seen.text.n_places
    if sizes.is_signed:  # neurons are always active: how often one is a tenth of its strongest
        largest = strongest.max(1)
        density = np.array(
            [
                1 - (percentile(h, 0.1 * m, True) - percentile(h, -0.1 * m, True)) / 100 if m > 0 else 0.0
                for h, m in zip(arrays["histogram"][layer][features], largest.tolist(), strict=True)
            ]
        )
    yield "layer", np.full(len(features), layer, dtype=np.int32)
    yield "feature", np.array(features, dtype=np.int32)
    yield "density", density.astype(np.float32)
    yield "mean", (arrays["total"][layer][features] / np.maximum(count, 1)).astype(np.float32)
    yield "maximum", strongest[:, 0].astype(np.float32)
    yield "minimum", (-strongest[:, 1] if sizes.is_signed else np.zeros(len(features))).astype(np.float32)
    yield "energy", (arrays["squares"][layer][features] / seen.text.n_places).astype(np.float32)


def _words(
    model: LanguageModel,
    basis: Basis,
    layer: int,
    features: Sequence[int],
    lens: Lens | None,
    settings: CardSettings,
    texts: Texts,
) -> dict[str, Any]:
    n = settings.tokens
    direct = written(model, basis, layer, n)
    found = {"promotes": _tokens(direct.up, features, texts), "suppresses": _tokens(direct.down, features, texts)}
    through = None if lens is None else written(model, basis, layer, n, lens)
    for name in ("up", "down"):
        column = "lens_promotes" if name == "up" else "lens_suppresses"
        found[column] = [[]] * len(features) if through is None else _tokens(getattr(through, name), features, texts)
    drives = embeddings_read(model, basis, layer, n) if settings.drivers else None
    found["driven_by"] = [[]] * len(features) if drives is None else _tokens(drives, features, texts)
    return found


def _tokens(ranked: Ranked, features: Sequence[int], texts: Texts) -> list[list[dict[str, Any]]]:
    ids, values = ranked.index[features].tolist(), ranked.value[features].tolist()
    return [
        [
            {"token": texts.string(token), "id": token, "weight": round(value, 3)}
            for token, value in zip(*row, strict=True)
        ]
        for row in zip(ids, values, strict=True)
    ]


def _neighbours(
    seen: Seen,
    wiring: Wiring | None,
    alive: torch.Tensor,
    layer: int,
    features: Sequence[int],
    rms: torch.Tensor,
    settings: CardSettings,
) -> dict[str, Any]:
    none: dict[str, Any] = {name: [[]] * len(features) for name in ("upstream", "nearest", "co_active")}
    n_features, n = seen.tally.sizes.n_features, settings.near
    if wiring is None or not features or n == 0:
        return none
    if settings.drivers:
        none["upstream"] = _units(wiring.upstream(layer, rms, n), alive, n_features)
    if settings.nearest:
        none["nearest"] = _units(wiring.nearest(layer, n), alive, n_features)
        none["co_active"] = _units(co_active(seen, alive, layer, n), alive, n_features, least=0.05)
    return none


def _units(ranked: Ranked, alive: torch.Tensor, n_features: int, least: float = 0.0) -> list[list[dict[str, Any]]]:
    keys = alive[ranked.index.clamp_min(0)].tolist()
    return [
        [
            {"layer": key // n_features, "feature": key % n_features, "weight": round(value, 4)}
            for key, value in zip(*row, strict=True)
            if abs(value) > least and abs(value) != float("inf")
        ]
        for row in zip(keys, ranked.value.tolist(), strict=True)
    ]


def co_active(seen: Seen, alive: Int[torch.Tensor, " alive"], layer: int, n: int) -> Ranked:
    """Of each alive feature of a layer, the features that are active when it is.

    Of sparse ones: the share of its sampled places at which the other is sampled too, the same places being drawn for
    all (of two features the rarer one's sample reaches further). Of neurons: the correlation over the shared places.
    """
    sizes, arrays = seen.tally.sizes, seen.tally.arrays
    own = (alive // sizes.n_features == layer).nonzero().flatten()
    found = []
    if sizes.is_signed:
        pool = torch.from_numpy(arrays["pool"]).permute(0, 2, 1).reshape(-1, sizes.pool)[alive].float()
        pool = pool[:, torch.from_numpy(arrays["pool_place"] >= 0)]
        pool = torch.nn.functional.normalize(pool - pool.mean(1, keepdim=True), dim=1)
        for some in own.split(max(1, (1 << 24) // len(alive))):
            shares = pool[some] @ pool.T
            shares[torch.arange(len(some)), some] = 0.0
            top = shares.abs().topk(min(n, len(alive)))
            found.append((top.indices, shares.gather(1, top.indices)))
    else:
        members = _membership(arrays["shown.place"].reshape(-1, sizes.shown)[alive.numpy()])
        sampled = np.asarray(members.sum(1)).ravel()
        for some in own.split(2048):
            shared = (members[some.numpy()] @ members.T).tocsr()
            dense = torch.from_numpy(shared.toarray()).float() / torch.from_numpy(np.maximum(sampled[some], 1))[:, None]
            dense[torch.arange(len(some)), some] = 0.0
            top = dense.topk(min(n, len(alive)))
            found.append((top.indices, top.values))
    return Ranked(torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found]).float())


def _membership(places: Int[np.ndarray, "unit k"]) -> Any:
    """[unit, sampled place], ones."""
    import scipy.sparse

    unit, at = (places >= 0).nonzero()
    _, column = np.unique(places[unit, at], return_inverse=True)
    ones = np.ones(len(unit), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, (unit, column)), shape=(len(places), int(column.max(initial=0)) + 1))


def _examples(seen: Seen, texts: Texts, layer: int, feature: int, settings: CardSettings) -> list[dict[str, Any]]:
    """The strongest of each side, then some of every decile of the activation."""
    arrays, sizes, found = seen.tally.arrays, seen.tally.sizes, []
    for side in range(sizes.sides):
        unit = feature * sizes.sides + side
        for k in range(settings.top):
            if k < sizes.top and (place := int(arrays["top.place"][layer, unit, k])) >= 0:
                around = arrays["top.around"][layer, unit, k] if settings.activations else None
                group = "top negative" if side else "top"
                found.append(texts.example(group, place, float(arrays["top.value"][layer, unit, k]), around))
    if settings.deciles:
        found += _by_decile(seen, texts, layer, feature, settings)
    return found


def _by_decile(seen: Seen, texts: Texts, layer: int, feature: int, settings: CardSettings) -> Iterator[dict[str, Any]]:
    arrays, sizes = seen.tally.arrays, seen.tally.sizes
    if sizes.is_signed:
        place, value = arrays["pool_place"], arrays["pool"][layer, :, feature].astype(np.float32)
        around = None
    else:
        place, value = arrays["held.place"][layer, feature], arrays["held.value"][layer, feature]
        around = arrays["held.around"][layer, feature]
    counts = arrays["histogram"][layer, feature]
    there = (place >= 0).nonzero()[0]
    decile = np.minimum(percentiles(counts, value[there], sizes.is_signed) // 10, 9)
    for number in reversed(range(10)):
        some: list[dict[str, Any]] = []
        for i in there[decile == number]:
            kept = around[i] if around is not None and settings.activations else None
            one = texts.example(f"decile {number + 1}", int(place[i]), float(value[i]), kept)
            if len(some) < settings.deciles and all(one["tokens"] != other["tokens"] for other in some):
                some.append(one)
        yield from some


def alive_units(seen: Seen) -> Bool[np.ndarray, "layer feature"]:
    """Which features were active at all."""
    return seen.tally.arrays["count"] > 0
