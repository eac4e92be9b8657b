"""What a notebook shows of a value is short."""

import inspect
import pkgutil
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch

import silverstain
from silverstain.brief import LONGEST, brief
from silverstain.graphs import Story, StoryGroup
from silverstain.interventions import Edit, intervene

LENGTH = 500


def public_classes() -> list[type]:
    """Every class of ours that a package has at its front."""
    fronts = ["silverstain", *(f"silverstain.{m.name}" for m in pkgutil.iter_modules(silverstain.__path__) if m.ispkg)]
    found = {
        value
        for front in fronts
        for name, value in ((name, getattr(import_module(front), name)) for name in dir(import_module(front)))
        if not name.startswith("_") and inspect.isclass(value) and value.__module__.startswith("silverstain.")
    }
    return sorted((c for c in found if not issubclass(c, BaseException)), key=lambda c: (c.__module__, c.__qualname__))


def writes_its_fields(cls: type) -> bool:
    """Whether the `repr` is the one that Python makes, which writes every field out in full."""
    home = getattr(cls.__repr__, "__module__", "")
    made = home != "silverstain.brief" and "__repr__" not in inspect.getsource(cls)
    return made and (is_dataclass(cls) or hasattr(cls, "_fields"))


@pytest.mark.parametrize("cls", public_classes(), ids=lambda cls: cls.__qualname__)
def test_a_public_value_of_any_length_has_a_short_repr(cls: type):
    if writes_its_fields(cls):
        kinds = (
            [str(f.type) for f in fields(cls)] if is_dataclass(cls) else list(map(str, cls.__annotations__.values()))
        )
        long = [
            kind for kind in kinds if any(word in kind for word in ("Tensor", "ndarray", "tuple[", "list", "Mapping"))
        ]
        assert not long, f"{cls.__qualname__} has fields of {', '.join(long)}: decorate it with @brief"


def test_what_a_session_shows_is_short():
    loaded = silverstain.load("organism")
    graph = loaded.trace("the capital of the state containing dallas is").prune()
    story = loaded.read(graph)
    edit = Edit(op="ablate", features=tuple((1, feature) for feature in range(2000)))
    change = intervene(
        loaded.model, loaded.dictionary, graph.meta["prompt"], [Edit(op="ablate", features=((3, 1501),))]
    )
    values = [
        loaded, loaded.model, loaded.dictionary, loaded.cards, graph, graph.nodes, graph.scores(), story, edit, change,
        graph.figure(story), graph.figure(story).circuit, next(iter(loaded.cards)), silverstain.TraceSettings(),
    ]  # fmt: skip
    for value in values:
        assert type(value).__name__ in repr(value)
        assert len(repr(value)) <= LENGTH, repr(value)
        assert "\n" not in repr(value)
    assert len(graph.figure()._repr_html_()) <= 200_000
    assert graph._repr_html_().startswith("<iframe ")


def test_the_parts_are_said_by_their_size():
    @brief
    @dataclass(frozen=True)
    class Value:
        rows: Any
        name: str
        few: tuple[int, ...]
        many: tuple[int, ...]
        table: dict[str, int]
        inner: Any

    class Pair(NamedTuple):
        one: int

    value = Value(torch.zeros(3, 4), "x" * 10**6, (1, 2), tuple(range(9)), {"a": 1}, Pair(1))
    shown = repr(value)
    assert "rows=Tensor[3, 4]" in shown
    assert "few=(1, 2)" in shown
    assert "many=<9 items>" in shown
    assert "table=<1 entries>" in shown
    assert "inner=Pair(…)" in shown
    assert len(shown) <= LONGEST


def test_whoever_is_long_is_cut_and_hides_no_control_character():
    story = Story(groups=tuple(StoryGroup(label="\x1b[2J" * 50, members=("1",) * 9) for _ in range(3)))
    assert len(repr(story)) <= LONGEST
    assert "\x1b" not in repr(story)
    assert "\x1b" not in repr(story.groups[0])


def test_numbers_too_long_to_write_are_said_so():
    @brief
    @dataclass(frozen=True)
    class Value:
        number: int

    assert repr(Value(10**5000)) == "Value(number=<a long number>)"
