"""Finite weights may have products that are not: that is said in one line, before anything is written."""

import pytest
import torch

from silverstain.attribution import DirectionTarget, trace
from silverstain.attribution.joining import check_finite
from silverstain.errors import UsageError


def test_a_direction_too_large_to_be_multiplied_is_refused(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    huge = torch.full((model.d_model,), torch.finfo(model.dtype).max / 4, dtype=model.dtype)
    with pytest.raises(UsageError, match=r"NaN or infinite in float\d\d.*give smaller ones"):
        trace(model, dictionary, [0, 11, 5], targets=[DirectionTarget(vector=huge, name="huge")])


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_one_number_is_enough(bad: float):
    check_finite(torch.tensor([1.0, 2.0]), "edges")
    with pytest.raises(UsageError, match="the edges of this graph are NaN or infinite in float32"):
        check_finite(torch.tensor([1.0, bad]), "edges")
