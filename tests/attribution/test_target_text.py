"""Targets as text."""

import re

import pytest
import torch

from silverstain.attribution import (
    DifferenceTarget,
    DirectionTarget,
    FeatureTarget,
    TargetRequest,
    TokenTarget,
    read_target,
)
from silverstain.errors import UsageError
from silverstain.storage import save_tensors_whole


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("austin", TokenTarget(token="austin")),
        (" Austin", TokenTarget(token=" Austin")),
        ("austin@-2", TokenTarget(token="austin", position=-2)),
        ("@", TokenTarget(token="@")),
        ("a@b", TokenTarget(token="a@b")),
        ("id:40@3", TokenTarget(token=40, position=3)),
        ("diff:austin,sacramento", DifferenceTarget(token="austin", minus="sacramento")),
        ("diff: Austin,id:7@0", DifferenceTarget(token=" Austin", minus=7, position=0)),
        ("feature:L2.F17", FeatureTarget(layer=2, feature=17)),
        ("feature:L2.F17@-1", FeatureTarget(layer=2, feature=17, position=-1)),
        ("L2.F17", FeatureTarget(layer=2, feature=17)),
        ("l2.f17@3", FeatureTarget(layer=2, feature=17, position=3)),
        ("feature:2_17_3", FeatureTarget(layer=2, feature=17, position=3)),
        ("2_17_3", FeatureTarget(layer=2, feature=17, position=3)),
        ("token@3", TokenTarget(token="token", position=3)),
    ],
)
def test_every_form_is_read(text: str, target: TargetRequest):
    assert read_target(text) == target


def test_directions_come_from_files(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save_tensors_whole("L1/two.safetensors", {"a": torch.ones(4), "b/c": torch.arange(4.0)})
    save_tensors_whole("one.safetensors", {"only": torch.ones(4)})
    named = read_target("direction:L1/two.safetensors:b/c/L3@2")
    assert isinstance(named, DirectionTarget)
    assert (named.name, named.layer, named.position) == ("b/c", 3, 2)
    assert torch.equal(named.vector, torch.arange(4.0))
    alone = read_target("direction:one.safetensors")
    assert isinstance(alone, DirectionTarget)
    assert (alone.name, alone.layer, alone.position) == ("only", None, None)
    for text, words in [
        ("direction:L1/two.safetensors", "no vector is named; two.safetensors has a, b/c"),
        ("direction:L1/two.safetensors:d", "there is no vector 'd'; two.safetensors has a, b/c"),
        ("direction:none.safetensors:a", "there is no file none.safetensors"),
    ]:
        with pytest.raises(UsageError, match=re.escape(words)):
            read_target(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a target is empty; give TOKEN, id:NUMBER, diff:TOKEN,TOKEN"),
        ("id:forty", "cannot read the target 'id:forty': an id is a number, as id:40"),
        ("diff:austin", "cannot read the target 'diff:austin': name two tokens with one comma between them"),
        ("diff:a,b,c", "a token that has a comma by its id, as diff:id:40,id:41"),
        ("diff:,b", "name two tokens"),
        ("feature:2/5/17", "cannot read the target 'feature:2/5/17': name a feature as feature:L2.F17"),
        ("direction:vector.npy", "name a file, as direction:FILE.safetensors:NAME"),
    ],
)
def test_what_cannot_be_read_says_what_could(text: str, words: str):
    with pytest.raises(UsageError, match=re.escape(words)):
        read_target(text)
