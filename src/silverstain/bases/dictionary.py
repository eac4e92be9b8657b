"""One object behind every kind of MLP replacement: features that read one layer and write to one or more.

A per-layer transcoder is a cross-layer one whose decoder reaches one layer; which it is, is data, not a class.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases.basis import Basis, Readers
from silverstain.bases.formats.found import Activation
from silverstain.bases.hashing import hash_source
from silverstain.bases.lazy import TYPES, Lazy
from silverstain.bases.shapes import checked_sizes
from silverstain.bases.sites import READS_AT, WRITES_AT
from silverstain.bases.storage import DecoderFunction, MemorySource, OtherDecoder, TensorSource
from silverstain.errors import UsageError


class Dictionary(Basis):
    """Encoder, decoder, biases and optional linear skip of every layer.

    Feature f of layer l has activation `act(W_enc[l][f] · x[l] + b_enc[l][f])` and adds `activation · W_dec[l][f, j]`
    to the MLP output of layer `targets(l)[j]`. Layer m adds `b_dec[m]`, and `W_skip[m] x[m]` where there is a skip.
    relu is x · (x > 0), jumprelu x · (x > threshold), strict; topk is either of them, for the k[l] features of a layer
    that are furthest above their threshold.
    """

    def __init__(
        self,
        source: TensorSource,
        *,
        n_layers: int,
        activation: Activation,
        k: Sequence[int] | None = None,
        name: str,
        hash: str | None = None,
        model_hash: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Adopt the tensors of `source`, computed with in `dtype` on `device`; UsageError if shapes disagree."""
        if dtype not in TYPES:
            raise UsageError(
                f"a dictionary cannot be computed with in {str(dtype).removeprefix('torch.')}; give torch.float32, "
                f"whatever type it is stored in"
            )
        self._source = source
        self.n_layers = n_layers
        self.activation: Activation = activation
        self.k = None if k is None else tuple(k)
        """How many features of each layer are active at most, for topk."""
        self.name = name
        self._hash = hash
        self.model_hash = model_hash
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.folder = folder
        """The folder on this disk that it was opened in, if any."""
        self.device = torch.device(device)
        self.dtype = dtype
        self._has_reach = len(source.shape(("W_dec", 0)) or ()) == 3
        self.n_features, self.d_model = checked_sizes(source, n_layers, self.k, name)

    @staticmethod
    def from_tensors(
        *,
        W_enc: Sequence[Tensor] | Tensor,
        b_enc: Sequence[Tensor] | Tensor,
        W_dec: Sequence[Tensor] | Tensor,
        b_dec: Sequence[Tensor] | Tensor,
        threshold: Sequence[Tensor] | Tensor | None = None,
        W_skip: Sequence[Tensor] | Tensor | None = None,
        k: Sequence[int] | int | None = None,
        name: str = "unnamed",
        model_hash: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
    ) -> "Dictionary":
        """From tensors in memory, one a layer (or stacked): W_enc [F, d], b_enc [F], b_dec [d], threshold [F],
        W_skip [d, d]; W_dec [F, d] makes it per-layer, W_dec [F, n, d] with n ≤ L - l cross-layer; `k` makes it TopK.

        The tensors are not copied, so gradients reach them. `dtype` defaults to that of W_enc.
        """
        given = {
            "W_enc": W_enc,
            "b_enc": b_enc,
            "W_dec": W_dec,
            "b_dec": b_dec,
            "threshold": threshold,
            "W_skip": W_skip,
        }
        n_layers = len(W_enc)
        for key, layers in given.items():
            if layers is not None and len(layers) != n_layers:
                raise UsageError(f"{key} has {len(layers)} layers, W_enc has {n_layers}; give one tensor a layer")
        if n_layers == 0:
            raise UsageError("a dictionary needs at least one layer; W_enc has none")
        tensors = {
            (key, layer): tensor
            for key, layers in given.items()
            if layers is not None
            for layer, tensor in enumerate(layers)
        }
        first = tensors["W_enc", 0]
        return Dictionary(
            MemorySource(tensors),
            n_layers=n_layers,
            activation="topk" if k is not None else "relu" if threshold is None else "jumprelu",
            k=[k] * n_layers if isinstance(k, int) else k,
            name=name,
            model_hash=model_hash,
            metadata=metadata,
            device=first.device,
            dtype=dtype or first.dtype,
        )

    def __repr__(self) -> str:
        kind = "cross-layer" if self.is_cross_layer else "per-layer"
        return f"Dictionary({self.name!r}, {kind}, {self.activation}, {self.n_layers} layers of {self.n_features})"

    def to(self, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> "Dictionary":
        """The same dictionary, computing elsewhere or in another type; the stored tensors are shared."""
        wanted = {"device": torch.device(device or self.device), "dtype": dtype or self.dtype}
        is_there = wanted == {"device": self.device, "dtype": self.dtype}
        return self if is_there else self.derived(**wanted)

    def derived(self, source: TensorSource | None = None, **changes: Any) -> "Dictionary":
        """The same dictionary but for some arguments of its constructor.

        One with another `source` keeps this one's hash, unless told otherwise: it is this dictionary, changed on
        purpose (read from another place, or with other decoder rows as a control).
        """
        kept = {
            "n_layers": self.n_layers,
            "activation": self.activation,
            "k": self.k,
            "name": self.name,
            "hash": (self._hash or self.__dict__.get("hash")) if source is None else self.hash,
            "model_hash": self.model_hash,
            "metadata": self.metadata,
            "folder": self.folder,
            "device": self.device,
            "dtype": self.dtype,
        }
        return Dictionary(self._source if source is None else source, **{**kept, **changes})

    def with_decoder(self, rows: DecoderFunction) -> "Dictionary":
        """A variant whose features write other rows: `rows(layer, features, own)` gives them, their own being given."""
        return self.derived(OtherDecoder(self._source, rows))

    def reordered(self, sources: Mapping[int, Tensor]) -> "Dictionary":
        """A variant in which feature f of a layer writes the rows of feature `sources[layer][f]`."""

        def rows(layer: int, features: Tensor, own: Tensor) -> Tensor:
            return self._source.rows(("W_dec", layer), sources[layer].to(features.device)[features])

        return self.with_decoder(rows)

    @cached_property
    def hash(self) -> str:
        """Hash of the tensors, as float32, so that a copy in another type of computing shares it."""
        return self._hash or hash_source(self._source, self.n_layers)

    @property
    def reads_at(self) -> str:
        """Where in a block the features read, by circuit-tracer's names: see `sites`."""
        return self.metadata.get("feature_input_hook") or READS_AT

    @property
    def is_cross_layer(self) -> bool:
        """Whether its files hold a decoder row for each layer that a feature reaches."""
        return self._has_reach

    @property
    def competes(self) -> bool:
        return self.k is not None

    @property
    def writes_at(self) -> str:
        """Where in a block they write."""
        return self.metadata.get("feature_output_hook") or WRITES_AT

    @property
    def stored_dtype(self) -> torch.dtype:
        """The type its largest tensors are stored in, or come in once what the format keeps apart is folded in; int8
        where they are int8 rows with scales."""
        keys = [(name, layer) for name in ("W_enc", "W_dec") for layer in range(self.n_layers)]
        dtypes = {self._source.dtype(key) for key in keys}
        if len(dtypes) > 1 and torch.int8 in dtypes:  # int8 rows multiplied out are exact in float32
            dtypes = dtypes - {torch.int8} | {torch.float32}
        return reduce(torch.promote_types, dtypes)

    @property
    def has_skip(self) -> bool:
        return any(self._source.shape(("W_skip", layer)) is not None for layer in range(self.n_layers))

    # tensors of a layer

    def W_enc(self, layer: int) -> Float[Tensor, "feature d_model"]:
        return self._whole("W_enc", layer)

    def b_enc(self, layer: int) -> Float[Tensor, " feature"]:
        return self._whole("b_enc", layer)

    def threshold(self, layer: int) -> Float[Tensor, " feature"] | None:
        """What a pre-activation must exceed; None where that is 0."""
        if self._source.shape(("threshold", layer)) is None:
            return None
        return self._whole("threshold", layer).expand(self.n_features)  # circuit-tracer also stores a scalar

    @property
    def b_dec(self) -> Float[Tensor, "layer d_model"]:
        """The bias of the reconstruction at each layer."""
        return torch.stack([self._whole("b_dec", layer) for layer in range(self.n_layers)])

    def W_skip(self, layer: int) -> Float[Tensor, "d_out d_in"] | None:
        """The linear skip, applied as x @ W_skip.T."""
        return None if self._source.shape(("W_skip", layer)) is None else self._whole("W_skip", layer)

    def W_dec(self, layer: int) -> Float[Tensor, "feature target d_model"]:
        """The whole decoder of a layer; `decoder_rows` reads only what is needed."""
        return self._with_targets(self._whole("W_dec", layer))

    def part(self, name: str, layer: int) -> Lazy | None:
        """A stored tensor as it is, to be folded into another dictionary; None where there is none."""
        shape = self._source.shape((name, layer))
        if shape is None:
            return None
        source, key = self._source, (name, layer)
        return Lazy(
            shape,
            source.dtype(key),
            lambda rows: source.whole(key) if rows is None else source.rows(key, rows),
            self.name,
        )

    def encoder_rows(self, layer: int, features: Int[Tensor, " k"]) -> Float[Tensor, "k d_model"]:
        """Encoder rows of some features, read lazily from files."""
        return self.cast(self._source.rows(("W_enc", layer), features))

    def decoder_rows(self, layer: int, features: Int[Tensor, " k"]) -> Float[Tensor, "k target d_model"]:
        """What each of some features writes, at unit activation, to each of `targets(layer)`; lazy from files."""
        return self._with_targets(self.cast(self._source.rows(("W_dec", layer), features)))

    def targets(self, layer: int) -> range:
        """The layers whose MLP output the features of `layer` write to: its own and, cross-layer, some above."""
        shape = self._source.shape(("W_dec", layer))
        assert shape is not None  # checked when it was made
        return range(layer, layer + (shape[1] if self.is_cross_layer else 1))

    # computing

    def readers(self, layer: int, features: Int[Tensor, " k"], inputs: Float[Tensor, "k d_model"]) -> Readers:
        """Encoder rows and biases, whatever the input."""
        return Readers(self.encoder_rows(layer, features), self.b_enc(layer)[features])

    def pre_activations(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
        """x @ W_enc.T + b_enc; the input is not centred."""
        return torch.nn.functional.linear(x, self.W_enc(layer), self.b_enc(layer))

    def activate(
        self, layer: int, pre_activations: Float[Tensor, "*batch some"], features: Int[Tensor, " some"] | None = None
    ) -> Float[Tensor, "*batch some"]:
        """ReLU, JumpReLU, or for TopK those of the k that are furthest above their threshold."""
        before, threshold = pre_activations, self.threshold(layer)
        if threshold is not None and features is not None:
            threshold = threshold[features]
        if self.k is not None:
            assert features is None  # they compete: all must be given
            return before * _is_among_largest(before if threshold is None else before - threshold, self.k[layer])
        return torch.relu(before) if threshold is None else torch.where(before <= threshold, 0.0, before)

    def thresholds_in(
        self, layer: int, pre_activations: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch feature"]:
        """Its threshold; for TopK what is more: the margin of the k-th of the others, above its own threshold."""
        own = self.threshold(layer)
        least = torch.zeros_like(pre_activations) if own is None else own.expand_as(pre_activations)
        if self.k is None:
            return least
        k, margin = self.k[layer], pre_activations - least
        if k == self.n_features:  # nothing competes
            return least
        largest = margin.topk(k + 1, dim=-1).values
        is_among = margin >= largest[..., k - 1, None]
        rival = torch.where(is_among, largest[..., k, None], largest[..., k - 1, None])
        return least + rival.clamp_min(0)

    def decode_layer(
        self, layer: int, activations: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch target d_model"]:
        """What dense activations of `layer` write to each of `targets(layer)`, without biases."""
        decoder = self.W_dec(layer)
        return (activations @ decoder.flatten(1)).unflatten(-1, decoder.shape[1:])

    # inside

    def _whole(self, key: str, layer: int) -> Tensor:
        return self.cast(self._source.whole((key, layer)))

    def _with_targets(self, rows: Tensor) -> Tensor:
        return rows if self.is_cross_layer else rows.unsqueeze(1)


def _is_among_largest(values: Float[Tensor, "*batch feature"], k: int) -> Float[Tensor, "*batch feature"]:
    """1 for the k largest of the last axis that are above 0, else 0."""
    largest, where = values.topk(k, dim=-1)
    return torch.zeros_like(values).scatter(-1, where, (largest > 0).to(values.dtype))
