"""What a trace can be asked for: a token, a difference of two, any direction, any feature; each where one likes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from silverstain.brief import brief
from silverstain.storage import hash_tensors


@dataclass(frozen=True, kw_only=True)
class TokenTarget:
    """The logit of a token, measured from the mean over the vocabulary."""

    token: str | int
    """Its text, or its id."""
    position: int | None = None
    """Where it is read, negative from the end; by default where the trace is asked to read."""
    weight: float | None = None
    """Its share in the influence beside other targets; by default its probability."""


@dataclass(frozen=True, kw_only=True)
class DifferenceTarget:
    """The logit of one token less that of another: why this one, and not that one?"""

    token: str | int
    minus: str | int
    position: int | None = None
    weight: float | None = None
    """By default 1, as for every target that is no token."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class DirectionTarget:
    """What a vector [d_model] makes of the final norm's output, or of what the dictionary reads in a layer."""

    name: str
    vector: Tensor
    layer: int | None = None
    """The layer in which it is read; by default behind the final norm."""
    position: int | None = None
    weight: float | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureTarget:
    """The pre-activation of a dictionary's feature, whether it is active or not."""

    layer: int
    feature: int
    position: int | None = None
    weight: float | None = None


TargetRequest = TokenTarget | DifferenceTarget | DirectionTarget | FeatureTarget


def as_request(target: str | int | TargetRequest) -> TargetRequest:
    """A text or a number is a token."""
    return TokenTarget(token=target) if isinstance(target, str | int) else target


def described(request: TargetRequest) -> dict[str, Any]:
    """A request as JSON can hold it; a vector by its hash."""
    kind = type(request).__name__.removesuffix("Target").lower()
    said = {key: value for key, value in vars(request).items() if value is not None}
    if isinstance(request, DirectionTarget):
        said["vector"] = hash_tensors({"vector": torch.as_tensor(request.vector)})
    return {"kind": kind, **said}
