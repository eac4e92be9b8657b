"""The Jacobian lens: what a change of the stream after a layer does to the final stream, on average over a text.

    J_l = mean over rows and their source places t of Σ_{t' ≥ t} ∂h_final(t') / ∂h_l(t)

with h_l the stream after block l and h_final the stream before the last norm, attention and norms live (Gurnee et al.,
transformer-circuits 2026). What a feature writes at layer l, times J_l, is read by the unembedding as its own writing
is: with J the identity that is the logit lens. Leading places that keep their real MLP are no sources.

One backward pass a dimension of the stream finds a row of every layer's matrix at once, whatever the text's length.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis, writes_before_norm
from silverstain.brief import brief
from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.storage import broken_file, hash_tensors, read_tensors, save_tensors_whole

FORMAT = "silverstain.lens/1"


@brief
@dataclass(frozen=True, kw_only=True)
class Lens:
    """The mean Jacobian of each layer."""

    J: Float[Tensor, "layer d_model d_model"]
    """[layer, final, source]: J[l] @ v is what v, added to the stream after block l, becomes in the final stream."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Hash of the model, rows and places of the text."""

    @staticmethod
    def identity(model: LanguageModel) -> "Lens":
        """The logit lens: later layers are taken to change nothing."""
        return Lens(J=torch.eye(model.d_model).expand(model.n_layers, -1, -1), meta={"model_hash": model.hash})

    @property
    def hash(self) -> str:
        return hash_tensors({"J": self.J})

    def check_fits(self, model: LanguageModel) -> None:
        """UsageError when it is of another model."""
        if self.J.shape[:2] != (model.n_layers, model.d_model) or self.meta.get("model_hash") != model.hash:
            raise UsageError(f"this lens is of another model than {model.name}; build one: silverstain lens build")

    def save(self, path: str | Path) -> None:
        """One safetensors file, whole or not at all."""
        save_tensors_whole(path, {"J": self.J}, {"format": FORMAT, "hash": self.hash, "meta": json.dumps(self.meta)})

    @classmethod
    def load(cls, path: str | Path) -> "Lens":
        """What `save` wrote; UsageError naming a missing, corrupt or foreign file."""
        path = Path(path)
        tensors, metadata = read_tensors(path)
        J = tensors.get("J")
        if metadata.get("format") != FORMAT or J is None or J.ndim != 3 or J.shape[1] != J.shape[2]:
            raise UsageError(f"{path} holds no lens ({FORMAT}); build one: silverstain lens build")
        try:
            meta = parsed_json(metadata.get("meta", ""))
        except ValueError as error:
            raise broken_file(path, error) from error
        lens = cls(J=J.float(), meta=meta if isinstance(meta, dict) else {})
        if lens.hash != metadata.get("hash"):
            raise broken_file(path, ValueError("its numbers are not those that it was written with"))
        return lens


def build_lens(
    model: LanguageModel,
    rows: Iterable[Sequence[int]],
    *,
    batch_size: int = 8,
    on_progress: Callable[[int], None] | None = None,
) -> Lens:
    """The mean Jacobian over rows of tokens, each row counted alike; rows of one length run side by side.

    It costs as many backward passes as the stream is wide for each batch of rows. UsageError without any row that has
    a source place.
    """
    known = [list(row) for row in rows if len(row) > model.n_real]
    if not known:
        raise UsageError(f"a lens needs rows of more than {model.n_real} tokens; the text has none")
    by_length: dict[int, list[list[int]]] = {}
    for row in known:
        by_length.setdefault(len(row), []).append(row)
    total = torch.zeros(model.n_layers, model.d_model, model.d_model, dtype=torch.float64)
    done = 0
    for some in by_length.values():
        for first in range(0, len(some), batch_size):
            batch = torch.tensor(some[first : first + batch_size], device=model.device)
            total += _summed(model, batch)
            done += len(batch)
            if on_progress is not None:
                on_progress(done)
    meta = {
        "model": model.name,
        "model_hash": model.hash,
        "rows": len(known),
        "places": sum(len(row) - model.n_real for row in known),
        "text_hash": hash_tensors({"text": torch.tensor([token for row in known for token in [*row, -1]])}),
    }
    return Lens(J=(total / len(known)).float(), meta=meta)


def _summed(model: LanguageModel, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "layer d_model d_model"]:
    """Σ over rows of the mean over source places."""
    kept: dict[int, Tensor] = {}

    def keeping(layer: int) -> Callable[..., Any]:
        def keep(_: Any, __: Any, output: Any) -> Any:
            stream = output[0] if isinstance(output, tuple) else output
            if layer == 0:  # nothing before needs gradients
                stream = stream.detach().requires_grad_()
            kept[layer] = stream
            return (stream, *output[1:]) if isinstance(output, tuple) else stream

        return keep

    hooks = [model.block(layer).register_forward_hook(keeping(layer)) for layer in range(model.n_layers)]
    try:
        with torch.enable_grad():
            model.hf(input_ids=ids, use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    streams = [kept[layer] for layer in range(model.n_layers)]
    found = torch.zeros(model.n_layers, model.d_model, model.d_model, dtype=torch.float64)
    for dimension in range(model.d_model):
        last = dimension == model.d_model - 1
        gradients = torch.autograd.grad(streams[-1][..., dimension].sum(), streams, retain_graph=not last)
        for layer, gradient in enumerate(gradients):
            found[layer, dimension] = gradient[:, model.n_real :].double().mean(1).sum(0).cpu()
    return found


def seen_through(
    model: LanguageModel, basis: Basis, layer: int, features: Int[Tensor, " feature"], lens: Lens
) -> Float[Tensor, "feature d_model"]:
    """What unit activation of each feature gives to the unembedding through the lens, the last norm's scale being 1."""
    rows = basis.decoder_rows(layer, features).to(model.W_U)
    total = torch.zeros(len(features), model.d_model, dtype=rows.dtype, device=rows.device)
    for index, target in enumerate(basis.targets(layer)):
        written = rows[:, index]
        behind = model.norm("mlp_output", target) if writes_before_norm(basis, model) else None
        if behind is not None:
            written = behind.centred(written) * behind.weight
        total += written @ lens.J[target].to(written).T
    return model.final_norm.centred(total) * model.final_norm.weight
