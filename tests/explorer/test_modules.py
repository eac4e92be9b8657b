"""The page's pure modules: history, state, search, layout, addresses, text."""

import random
from xml.etree import ElementTree

import pytest
from tests.explorer.javascript import needs_node, run_module
from tests.graphs.conftest import random_graph

from silverstain.explorer import page_document
from silverstain.explorer.bundle import (
    ENTRY,
    STATIC,
    WORKER,
    bundled,
    exports_of,
    imports_of,
    module_source,
    modules_in_order,
)
from silverstain.graphs import Story, StoryGroup
from silverstain.printable import printable

MOST_LINES = 320


def test_every_module_is_in_the_page_and_keeps_to_a_readable_size():
    names = {path.stem for path in STATIC.glob("*.js")}
    entries = (ENTRY, WORKER, "home", "widget")
    assert {name for entry in entries for name in modules_in_order(entry)} == names
    assert {name: n for name in names if (n := module_source(name).count("\n")) > MOST_LINES} == {}


def test_every_name_that_a_module_takes_is_given():
    for name in (*modules_in_order(), *modules_in_order(WORKER)):
        for module, names in imports_of(module_source(name)).items():
            wanted = {one.split(" as ")[0].strip() for one in names.split(",")}
            assert wanted <= set(exports_of(module_source(module))), f"{name}.js takes from {module}.js"


@needs_node
def test_the_bundle_is_a_script_without_imports():
    script = bundled()
    assert not [line for line in script.splitlines() if line.startswith(("import ", "export "))]
    assert run_module("new Function(given); return true;", script)


def test_nothing_of_the_page_names_another_place():
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, path.name
        assert "https:" not in text, path.name


@needs_node
def test_undo_gives_back_the_very_state_and_redo_what_was_undone():
    found = run_module(
        """
        let now = history.historyOf({ k: 0 });
        const states = [now.now];
        for (let k = 1; k <= 20; k++) {
          now = history.changed(now, { k }, `to ${k}`);
          states.push(now.now);
        }
        const back = [now.now];
        for (let k = 0; k < 25; k++) { now = history.undone(now); back.push(now.now); }
        const forth = [now.now];
        for (let k = 0; k < 25; k++) { now = history.redone(now); forth.push(now.now); }
        const branch = history.changed(history.undone(now), { k: 99 }, 'other');
        return [
          back.slice(0, 21).every((state, k) => state === states[20 - k]),
          forth.slice(0, 21).every((state, k) => state === states[k]),
          history.redone(branch) === branch,
          now.past.length,
        ];
        """,
        modules=("history",),
    )
    assert found == [True, True, True, 20]


@needs_node
def test_quick_moves_of_one_slider_are_one_step():
    found = run_module(
        """
        let now = history.historyOf({ k: 0 });
        for (let k = 1; k <= 9; k++) now = history.changed(now, { k }, 'slider', { kind: 'slider', at: 100 * k });
        const one = now.past.length;
        now = history.changed(now, { k: 10 }, 'slider', { kind: 'slider', at: 5000 });
        return [one, now.past.length, history.undone(history.undone(now)).now.k];
        """,
        modules=("history",),
    )
    assert found == [1, 2, 0]


@needs_node
def test_groups_take_their_members_out_of_others_and_never_share_a_name():
    found = run_module(
        """
        const groups = [{ label: 'a', members: ['1', '2'], kind: 'concept' }, { label: 'b', members: ['3'] }];
        let now = state.stateOfStory({ groups });
        now = state.grouped(now, ['2', '3', '4'], 'a');
        const first = now.groups;
        now = state.renamedGroup(state.placed(now, 'g:a 2', 10, 20), 'a 2', 'c');
        const renamed = [now.groups.map((group) => group.label), now.places];
        const alone = state.ungrouped(now, 'c');
        return [first, renamed, alone.groups.map((group) => group.label), alone.places];
        """,
        modules=("state",),
    )
    members = [(group["label"], group["members"]) for group in found[0]]
    assert members == [("a", ["1"]), ("a 2", ["2", "3", "4"])]
    assert found[1:] == [[["a", "c"], {"g:c": [10, 20]}], ["a"], {}]


@needs_node
def test_a_story_goes_into_a_state_and_comes_out_the_same():
    story = Story(
        graph_hash="abc",
        pins=("0_5_1",),
        groups=(StoryGroup(label="a <b>", members=("0_6_1", "1_7_2"), kind="concept"),),
        labels={"0_5": "means é 日", "0_6_1": "\x1b[31m"},
        notes=("a note",),
        evidence=({"kind": "swap", "result": {"kl": 1.5}},),
        view={"hidden": {"0_5_1": "why"}, "places": {"g:a <b>": [3, 4]}, "boxes": 7, "node_share": 0.5,
              "edge_share": 0.25, "filters": {"kinds": ["feature"], "layers": [0, 1], "positions": None, "sign": -1,
              "text": "x", "pruned": True}, "view": "flow"},
    )  # fmt: skip
    found = run_module("return state.storyOf(state.stateOfStory(given), given);", story.to_json(), modules=("state",))
    assert found == story.to_json() | {"pins": list(story.pins)} or found == _listed(story.to_json())
    assert Story.from_json(found, "the page").to_json() == story.to_json()


def _listed(value):
    """Tuples as the lists that JSON makes of them."""
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


@needs_node
@pytest.mark.parametrize(
    "view",
    [{"hidden": {"a": 3}, "places": {"b": ["x", 1]}, "boxes": -4, "node_share": "1", "filters": 5}, {"view": "?"}],
)
def test_a_view_of_other_kinds_is_left_aside(view):
    found = run_module("return state.stateOfStory(given);", {"view": view}, modules=("state",))
    assert (found["hidden"], found["places"], found["boxes"], found["nodeShare"]) == ({}, {}, 10, 0.8)
    assert found["view"] == "circuit"
    assert found["filters"]["kinds"]


@needs_node
def test_a_small_state_goes_into_the_address_and_comes_back():
    found = run_module(
        """
        const initial = state.stateOfStory({});
        const now = { ...state.togglePins(initial, ['0_5_1', 'é日']), view: 'flow' };
        const hash = remember.toHash(now, initial, ['g:x']);
        const many = { ...now, pins: Array.from({ length: 2000 }, (_, i) => `0_${i}_1`) };
        return [remember.fromHash(hash), remember.toHash(initial, initial), remember.toHash(many, initial),
                remember.fromHash('#s=%%%'), remember.fromHash('#s=AAAA'), remember.fromHash('#other'), hash.length];
        """,
        modules=("remember", "state"),
    )
    assert found[0] == {"pins": ["0_5_1", "é日"], "view": "flow", "selection": ["g:x"]}
    assert found[1:6] == ["", "", None, None, None]
    assert found[6] < 200


@needs_node
def test_a_search_finds_beginnings_first_then_words_then_parts():
    texts = ["xdallas", "of dallas", "dallas is in texas", "Dallas", "austin"]
    found = run_module(
        "return search.found(given.map((text) => ({ texts: [text] })), 'dallas').map((one) => one.texts[0]);",
        texts,
        modules=("search",),
    )
    assert found == ["Dallas", "dallas is in texas", "of dallas", "xdallas"]


@needs_node
def test_text_is_shown_as_python_shows_it():
    texts = ["a\nb\t\r", "\x1b[31mred", "\u202eevil", "\u2028", "é日🙂", "\x00\x7f\x85", "\ufff9", "plain"]
    found = run_module("return given.map((one) => text.shown(one));", texts, modules=("text",))
    for one, expected in zip(found, map(printable, texts), strict=True):
        assert one.replace("\\u00", "\\x") == expected


@needs_node
@pytest.mark.parametrize("seed", range(6))
def test_boxes_of_a_circuit_touch_neither_each_other_nor_the_edge_and_lines_run_upwards(seed: int):
    graph = random_graph(seed, n_layers=5, n_positions=8, n_features=60, n_logits=2, n_attention=8)
    shuffled = random.Random(seed)
    units = [node for node, is_unit in enumerate(graph.nodes.is_unit.tolist()) if is_unit]
    ids = graph.nodes.ids()
    groups = tuple(
        StoryGroup(label=f"group {k} " + "long name " * k, members=tuple(ids[u] for u in shuffled.sample(units, 5)))
        for k in range(3)
    )
    found = run_module(
        """
        const graph = format.decoded(given); const known = influence.analysed(graph);
        const index = new Map(graph.ids.map((id, i) => [id, i]));
        const made = circuit.circuitOf({ document: given, graph, known, index }, state.stateOfStory(given.story));
        const placed = layout.laidOut(made, given.words, { width: 760, height: 700 });
        const svg = picture.circuitSvg(placed, made, { standalone: true, title: '<&"' });
        return { ...placed, edges: made.edges, kinds: made.boxes.map((box) => box.kind), svg };
        """,
        page_document(graph, Story(groups=groups)),
        modules=("format", "influence", "circuit", "state", "layout", "picture"),
    )
    boxes = found["places"]
    for i, one in enumerate(boxes):
        assert one["x"] - one["width"] / 2 >= 0
        assert one["x"] + one["width"] / 2 <= found["width"]
        for other in boxes[:i]:
            apart_x = abs(one["x"] - other["x"]) >= (one["width"] + other["width"]) / 2 - 0.01
            apart_y = abs(one["y"] - other["y"]) >= (one["height"] + other["height"]) / 2
            assert apart_x or apart_y
    for line in found["lines"]:
        heights = [y for _, y in line["points"]]
        assert heights == sorted(heights, reverse=True)
    assert {place["row"] for place, kind in zip(boxes, found["kinds"], strict=True) if kind == "token"} <= {0}
    ElementTree.fromstring(found["svg"])
