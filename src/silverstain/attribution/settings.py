"""All that decides a trace, as one value: Python, the command line, many prompts and the graph's record use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from silverstain.attribution.freezing import Norms, norms_named
from silverstain.attribution.requests import TargetRequest, as_request, described
from silverstain.bases.neuron_rules import rule_named
from silverstain.brief import brief
from silverstain.errors import UsageError

PROBABILITY = 0.95
"""By default the smallest set of tokens that reaches this probability is explained …"""
MOST_TARGETS = 10
"""… but no more tokens than these, as in the paper."""

OF_NEURONS = ("share", "neuron_rule")
"""Settings that graphs of dictionaries do not have."""


@brief
@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """How a prompt is traced. A setting that cannot be is refused when the value is made."""

    targets: Sequence[str | int | TargetRequest] | None = None
    """What is explained, each with a position of its own where it names one: tokens (text or ids) whose logits are
    read, TokenTarget, DifferenceTarget, DirectionTarget, FeatureTarget. By default the smallest set of tokens that
    reaches `probability`, at most `most_targets`."""
    position: int = -1
    """The token after which the answer is read, for targets that name no other. What follows the last token that is
    read is left out, as it changes nothing."""
    probability: float = PROBABILITY
    most_targets: int = MOST_TARGETS
    max_features: int | None = None
    """Room for features with nodes of their own, taken in order of influence. What the others write goes to the error
    nodes of the layers and positions they write to. By default every active feature."""
    share: float | None = None
    """Of neurons: as few get nodes as carry this share of Σ |contribution|, and no more than `max_features`. By default
    the 500 that contribute most."""
    neuron_rule: str | None = None
    """How neurons are made linear in the run: half, up, derivative or ray (see `bases.neuron_rules`); by default the
    rule that the basis has, half."""
    max_unexplained: float = 0.0
    """Stop expanding when no more than this share of the influence is left unexplained; the share that was left is
    `meta["unexplained_influence"]`."""
    norms: Norms = "frozen"
    """"frozen", dividing by what they divided by in the run (the papers'); or "linearised", so that a change along the
    stream, which a norm divides away, counts for nothing. Edges add up in both."""
    products: torch.dtype | None = None
    """Of products with attention's weights; bfloat16 is faster where the hardware has it, and its error is part of
    `meta["exactness"]`. None for the model's own."""

    def __post_init__(self) -> None:
        if self.targets is not None:
            object.__setattr__(self, "targets", tuple(as_request(target) for target in self.targets))
        norms_named(self.norms)
        if self.max_features is not None and self.max_features < 0:
            raise UsageError(f"max_features is {self.max_features}; give a number of features, or none for all of them")
        if self.share is not None and not 0 <= self.share <= 1:
            raise UsageError(f"share is {self.share}; give a share of what neurons contribute, from 0 to 1")
        if self.neuron_rule is not None:
            rule_named(self.neuron_rule)
        if not 0 <= self.max_unexplained <= 1:
            raise UsageError(f"max_unexplained is {self.max_unexplained}; give a share of the influence, from 0 to 1")
        if not 0 <= self.probability <= 1:
            raise UsageError(
                f"probability is {self.probability}; give what the explained tokens are to reach, from 0 to 1"
            )
        if self.most_targets < 1:
            raise UsageError(f"most_targets is {self.most_targets}; give a number of tokens from 1 on")

    @classmethod
    def of(cls, settings: "TraceSettings | None", changes: Mapping[str, Any]) -> "TraceSettings":
        """The settings given, changed where keywords say otherwise."""
        return replace(settings, **changes) if settings is not None else cls(**changes)

    @property
    def requests(self) -> tuple[TargetRequest, ...] | None:
        """The targets as requests; None for the likeliest tokens."""
        return None if self.targets is None else tuple(as_request(target) for target in self.targets)

    def to_json(self) -> dict[str, Any]:
        """What a graph keeps of its settings."""
        said = {name: value for name, value in vars(self).items() if value is not None or name not in OF_NEURONS}
        requests = self.requests
        said["targets"] = None if requests is None else [described(request) for request in requests]
        said["products"] = None if self.products is None else str(self.products).removeprefix("torch.")
        return said
