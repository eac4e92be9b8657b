"""Random dictionaries of both kinds and both activations."""

import pytest
import torch
from torch import Tensor

from silverstain.bases import Dictionary

N_LAYERS, N_FEATURES, D_MODEL = 3, 10, 6
KINDS = ["per-layer relu", "per-layer jumprelu skip", "cross-layer relu", "cross-layer jumprelu skip"]


def build(kind: str, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Dictionary:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    layers = range(N_LAYERS)
    return Dictionary.from_tensors(
        W_enc=[draw(N_FEATURES, D_MODEL) for _ in layers],
        b_enc=[draw(N_FEATURES) for _ in layers],
        W_dec=[
            draw(N_FEATURES, N_LAYERS - i, D_MODEL) if "cross" in kind else draw(N_FEATURES, D_MODEL) for i in layers
        ],
        b_dec=[draw(D_MODEL) for _ in layers],
        threshold=[draw(N_FEATURES).abs() for _ in layers] if "jumprelu" in kind else None,
        W_skip=[draw(D_MODEL, D_MODEL) for _ in layers] if "skip" in kind else None,
        name=kind.replace(" ", "-"),
        model_hash="0123456789abcdef",
        metadata={"steps": 7},
    )


@pytest.fixture(params=KINDS)
def dictionary(request: pytest.FixtureRequest) -> Dictionary:
    return build(request.param)
