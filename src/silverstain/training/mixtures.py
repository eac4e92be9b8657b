"""A trained mixture of linear transforms: kept as one safetensors file and one of JSON, able to stand in for MLPs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases.layout import MOLT_FACTS
from silverstain.bases.substitutes import Activity, Substitute
from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.storage import hash_tensors, read_tensors, save_tensors_whole, write_json_whole
from silverstain.training.molt import mixture
from silverstain.training.scanning import above

FORMAT = "silverstain.molt/1"
FACTS, WEIGHTS = MOLT_FACTS, "molt.safetensors"
NAMES = ("W_enc", "b_enc", "threshold", "b_dec", "V", "U", "center")


class Molt(Substitute):
    """y = b_dec + W_skip x + Σₜ φₜ Uₜ Vₜᵀ (x − center); φ = z where z = W_enc x + b_enc exceeds its threshold, else 0.

    Layer by layer. What a transform writes is no fixed vector, so there are no decoder norms. `ranks` says how many
    rows of V and U are each transform's; they lie one behind the other.
    """

    def __init__(
        self,
        tensors: Mapping[str, Sequence[Tensor]],
        *,
        ranks: Int[Tensor, " transform"],
        name: str = "unnamed",
        model_hash: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.tensors, self.ranks = {key: list(layers) for key, layers in tensors.items()}, ranks
        self.name, self.model_hash, self.metadata = name, model_hash, dict(metadata or {})
        self.n_layers = len(self.tensors["W_enc"])
        self.n_features, self.d_model = self.tensors["W_enc"][0].shape

    def __repr__(self) -> str:
        return f"Molt({self.name!r}, {self.n_layers} layers of {self.n_features} transforms)"

    @property
    def hash(self) -> str:
        return hash_tensors(_flat(self.tensors))

    def writes(
        self, layer: int, x: Float[Tensor, "row d_model"], token_ids: Int[Tensor, " row"]
    ) -> Float[Tensor, "row 1 d_model"]:
        at = {key: layers[layer].to(x) for key, layers in self.tensors.items()}
        active, values = above(x.detach(), at["W_enc"], at["b_enc"], at["threshold"])
        written = mixture(x - at["center"], values, active, at["V"], at["U"], self.ranks.to(x.device)) + at["b_dec"]
        skip = self.skip(layer, x)
        return (written if skip is None else written + skip)[:, None]

    def activity(self, layer: int, x: Float[Tensor, "row d_model"]) -> Activity:
        """How the transforms are switched on."""
        W_enc, b_enc, threshold = (self.tensors[key][layer].to(x) for key in ("W_enc", "b_enc", "threshold"))
        active, values = above(x, W_enc, b_enc, threshold)
        return Activity.of_entries(
            active.rows, active.features, values, n_rows=active.n_rows, n_features=active.n_features
        )

    def skip(self, layer: int, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"] | None:
        return x @ self.tensors["W_skip"][layer].to(x).T if "W_skip" in self.tensors else None


def save_molt(
    molt: Molt, folder: str | Path, *, dtype: torch.dtype = torch.float32, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a mixture to `folder`, molt.json last: without it there is none."""
    folder = Path(folder)
    stored = {name: tensor.to(dtype) for name, tensor in _flat(molt.tensors).items()}
    save_tensors_whole(folder / WEIGHTS, stored)
    write_json_whole(
        folder / FACTS,
        {
            "format": FORMAT,
            "name": molt.name,
            "hash": hash_tensors(stored),
            "model_hash": molt.model_hash,
            "n_layers": molt.n_layers,
            "ranks": molt.ranks.tolist(),
            "metadata": {**molt.metadata, **(facts or {})},
        },
    )


def open_molt(folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Molt:
    """The mixture in a folder; UsageError where there is none, or a broken one."""
    folder = Path(folder)
    facts = read_json(folder / FACTS, FORMAT)
    stored, _ = read_tensors(folder / WEIGHTS)
    try:
        keys = [*NAMES, *(["W_skip"] if "W_skip.0" in stored else [])]
        tensors = {key: [stored[f"{key}.{i}"].to(dtype) for i in range(facts["n_layers"])] for key in keys}
        ranks = torch.tensor(facts["ranks"])
        fits = all(len(V) == int(ranks.sum()) for V in tensors["V"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{folder} is no complete mixture of transforms: {error} is missing; train it again"
        ) from error
    if not fits:
        raise UsageError(f"{folder}: V has not as many rows as the ranks in {FACTS} sum to; train it again")
    return Molt(tensors, ranks=ranks, name=facts["name"], model_hash=facts["model_hash"], metadata=facts["metadata"])


def _flat(tensors: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    return {f"{key}.{layer}": tensor for key, layers in tensors.items() for layer, tensor in enumerate(layers)}
