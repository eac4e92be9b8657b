"""What a reader makes of a format's files: lazy tensors in our orientation, and the few facts that go with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from silverstain.bases.lazy import Lazy
from silverstain.bases.storage import Key
from silverstain.errors import UsageError
from silverstain.printable import printable

Activation = Literal["relu", "jumprelu", "topk"]
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "W_skip")


@dataclass(frozen=True, kw_only=True)
class LayerParts:
    """One layer of a dictionary: W_enc [F, d], b_enc [F], W_dec [F, d] or [F, target, d], b_dec [d], threshold [F] or
    [], W_skip [out, in]. What a format folds into its input or output is folded in."""

    W_enc: Lazy
    W_dec: Lazy
    b_enc: Lazy | None = None
    b_dec: Lazy | None = None
    threshold: Lazy | None = None
    W_skip: Lazy | None = None
    k: int | None = None
    reads_at: str | None = None
    writes_at: str | None = None
    model_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A dictionary as it was found."""

    parts: Mapping[Key, Lazy]
    n_layers: int
    activation: Activation
    k: tuple[int, ...] | None = None
    name: str | None = None
    hash: str | None = None
    model_hash: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def with_decoder_norms(layer: LayerParts) -> LayerParts:
    """A layer whose activations are times ‖their decoder rows‖, and so are what is compared and ranked."""
    assert layer.b_enc is not None  # every format that does this has one
    norms = decoder_norms(layer.W_dec)
    return replace(
        layer,
        W_enc=layer.W_enc.times_rows(norms),
        b_enc=layer.b_enc.times_rows(norms),
        W_dec=layer.W_dec.times_rows(norms.map(lambda norm: torch.where(norm > 0, norm, 1).reciprocal())),
    )


def decoder_norms(W_dec: Lazy) -> Lazy:
    """‖decoder rows‖ [F] over all targets, computed when first needed: the one thing that reads a whole decoder."""
    n_features = W_dec.shape[0]
    n_rows = max(1, (1 << 24) // max(1, torch.Size(W_dec.shape[1:]).numel()))

    def read(_: Any) -> Tensor:
        chunks = torch.arange(n_features).split(n_rows)
        return torch.cat([W_dec.read(rows).to(torch.float32).flatten(1).norm(dim=1) for rows in chunks])

    return Lazy((n_features,), torch.float32, read, W_dec.where).once()


def assemble(layers: Sequence[LayerParts], where: str, **more: Any) -> Found:
    """Put layers together; UsageError where they are not of one kind."""
    parts: dict[Key, Lazy] = {}
    if not layers:
        raise UsageError(f"{where} has no layers; fetch it again")
    for layer, found in enumerate(layers):
        for key in NAMES:
            part = getattr(found, key)
            if key == "W_enc":
                _check_encoder(found.W_enc)
            if part is None and key in ("b_enc", "b_dec"):  # a format may leave a bias out
                size = found.W_enc.shape[0] if key == "b_enc" else found.W_enc.shape[-1]
                part = Lazy.of(torch.zeros(size), found.W_enc.where)
            if part is not None:
                parts[key, layer] = part
    thresholds = {found.threshold is not None for found in layers}
    ks = {found.k is not None for found in layers}
    if len(thresholds) > 1 or len(ks) > 1:
        raise UsageError(f"the layers in {where} have different activation functions; give one set of one kind")
    activation: Activation = "topk" if ks == {True} else "jumprelu" if thresholds == {True} else "relu"
    metadata: dict[str, Any] = {}
    for key, name in (
        ("reads_at", "feature_input_hook"),
        ("writes_at", "feature_output_hook"),
        ("model_name", "model_name"),
    ):
        seen = {value for found in layers if (value := getattr(found, key)) is not None}
        if len(seen) > 1:
            raise UsageError(
                f"the layers in {where} disagree: {name} is {printable(' and '.join(sorted(seen)), 200)}; give one set "
                f"of one kind"
            )
        if seen:
            metadata[name] = seen.pop()
    return Found(
        parts=parts,
        n_layers=len(layers),
        activation=activation,
        k=tuple(found.k for found in layers if found.k is not None) or None,
        metadata={**metadata, **more},
    )


def _check_encoder(W_enc: Lazy) -> None:
    if len(W_enc.shape) != 2 or 0 in W_enc.shape:
        raise UsageError(f"{W_enc.where}: the encoder has shape {list(W_enc.shape)}, [features, d_model] needed")
