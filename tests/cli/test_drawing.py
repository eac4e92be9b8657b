"""A circuit drawn as text."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silverstain.cli.drawing import draw, draw_circuit
from silverstain.graphs import Circuit, CircuitEdge, CircuitNode, Graph, Story, circuit_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "width", "with_names"), [("dallas", 100, True), ("dallas-narrow", 72, True), ("dallas-bare", 100, False)]
)
def test_the_drawing_is_the_golden_one(
    name: str, width: int, with_names: bool, dallas: Graph, reading: Story, request: pytest.FixtureRequest
):
    text = draw(dallas, reading if with_names else Story(), width=width) + "\n"
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} changed. If meant: pytest --update-golden, then review."


def test_colour_adds_nothing_but_colour(dallas: Graph, reading: Story):
    plain = draw(dallas, reading)
    coloured = draw(dallas, reading, colour=True)
    assert "\033" not in plain
    assert coloured != plain
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == plain


def test_weights_are_signed_shares_of_the_input(dallas: Graph, reading: Story):
    circuit = circuit_of(dallas, reading)
    weights = {(circuit.nodes[a.source].label, circuit.nodes[a.target].label): a.weight for a in circuit.edges}
    assert weights["say austin", "austin"] == pytest.approx(6 / 9)
    assert weights["against houston", "austin"] == pytest.approx(-1 / 9)
    assert weights["dallas", "texas"] == pytest.approx(0.9 * 0.9 / (0.9 + 0.3), abs=0.02)


def test_pieces_of_a_word_stand_together(dallas: Graph, reading: Story):
    boxes = circuit_of(dallas, reading).nodes
    assert [box.positions for box in boxes if box.label == "dal·las"] == [(7, 8)]


def test_a_group_without_influence_has_no_box(dallas: Graph, reading: Story):
    dead = replace(
        dallas, values=torch.where(dallas.indices == 0, 0.0, dallas.values), nodes=replace(dallas.nodes, influence=None)
    )
    assert "capital" in {box.label for box in circuit_of(dallas, reading).nodes if box.kind != "token"}
    assert "capital" not in {box.label for box in circuit_of(dead, reading).nodes if box.kind != "token"}


def test_fewer_boxes_say_what_they_hide(dallas: Graph, reading: Story):
    text = draw(dallas, reading, max_boxes=2)
    assert "of the influence runs through features that are not drawn" in text
    assert "against houston" not in text


def random_circuit(seed: int) -> Circuit:
    """Any circuit without rings: boxes of words, of features, and one answer."""
    pick = Random(seed)
    n_words, n_boxes = pick.randint(1, 12), pick.randint(0, 10)
    words = [_box(f"word{i}", "token", -1.0, i) for i in range(n_words)]
    names = ["".join(pick.choices("abc 都", k=pick.randint(1, 30))) for _ in range(n_boxes)]
    boxes = [_box(name, "concept", pick.uniform(0, 5), pick.randrange(n_words)) for name in names]
    everything = (*words, *boxes, _box("answer", "logit", 6.0, n_words - 1))
    arrows = tuple(
        CircuitEdge(source=source, target=target, weight=pick.uniform(-1, 1))
        for target in range(n_words, len(everything))
        for source in pick.sample(range(target), min(target, pick.randint(1, 4)))
    )
    return Circuit(nodes=everything, edges=arrows, tokens=tuple(word.label for word in words), left_out=0.0)


def _box(label: str, kind: str, layer: float, position: int) -> CircuitNode:
    return CircuitNode(label=label, kind=kind, layer=layer, position=position, positions=(position,), share=0.9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), width=st.integers(40, 140))
def test_every_arrow_has_a_mark_and_a_weight(seed: int, width: int):
    circuit = random_circuit(seed)
    text = draw_circuit(circuit, width=width).split("\n\n▲")[0]
    assert len(re.findall(r"(?<!\w)[+−]\d\.\d\d", text)) == len(circuit.edges)
    assert text.count("▲") == sum(arrow.weight > 0 for arrow in circuit.edges)
    assert "answer  90 %" in text
