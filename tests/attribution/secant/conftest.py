"""Pairs of tiny models in every basis."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from tests.attribution.conftest import KINDS, tiny_dictionary, tiny_model
from tests.zoo import SIZES

from silverstain.attribution import DirectionTarget
from silverstain.attribution.secant import Contrast, find_contrast
from silverstain.bases import Basis, Dictionary, NeuronBasis
from silverstain.models import LanguageModel

BASE, OTHER = [0, 11, 5, 23, 5, 40, 17], [0, 11, 7, 23, 5, 40, 17]
BASES = ("neurons", *KINDS)


def direction(seed: int = 0, **more: Any) -> DirectionTarget:
    """Something to read at the end: random, as an answer may be saturated by a soft-cap."""
    vector = torch.randn(SIZES["hidden_size"], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return DirectionTarget(name=f"direction {seed}", vector=vector, **more)


def basis_of(model: LanguageModel, kind: str, **facts: Any) -> Basis:
    return NeuronBasis(model) if kind == "neurons" else tiny_dictionary(kind, model.dtype, **facts)


class Contrasts(NamedTuple):
    """How tests make what they need."""

    model: Callable[..., LanguageModel]
    basis: Callable[..., Basis]
    dictionary: Callable[..., Dictionary]
    direction: Callable[..., DirectionTarget]
    base: list[int]
    other: list[int]

    def find(self, shape: str, kind: str, base: Any = None, other: Any = None, **settings: Any) -> Contrast:
        """A contrast in float64, of a direction at the end if nothing else is said."""
        dtype = settings.pop("dtype", torch.float64)
        model = settings.pop("model", None) or self.model(shape, dtype)
        basis = settings.pop("basis", None) or self.basis(model, kind)
        settings = {"targets": [self.direction()]} | settings
        return find_contrast(model, basis, base or self.base, other or self.other, **settings)


@pytest.fixture(scope="session")
def contrasts() -> Contrasts:
    return Contrasts(tiny_model, basis_of, tiny_dictionary, direction, BASE, OTHER)


@pytest.fixture(params=BASES)
def basis_kind(request: pytest.FixtureRequest) -> str:
    return request.param
