"""The page in a browser: what a person does there, with the pointer and with the keyboard."""

import base64
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.explorer.test_document import HOSTILE, hostile_graph
from tests.graphs.conftest import random_graph

from silverstain.cli import main
from silverstain.explorer import graph_html
from silverstain.explorer.document import page_document
from silverstain.explorer.folder import document_of
from silverstain.explorer.pages import page_html
from silverstain.graphs import Graph, Story, StoryGroup

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, which drives a browser")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the demo's graph, in a folder with the graph and its story."""
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--no-real", "--out", str(folder), "--json"]) == 0
    (folder / "dallas.html").write_text(page_html(document_of(folder / "dallas.safetensors")), encoding="utf-8")
    return folder / "dallas.html"


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page, and fails if it says anything on the console or asks for anything."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    wrong: list[str] = []

    def open_(page_of: Path | str, fragment: str = "", own: str = "file:") -> Any:
        page = context.new_page()
        page.on("console", lambda said: wrong.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda shown: (wrong.append(f"dialog: {shown.message}"), shown.dismiss()))
        page.on("request", lambda asked: asked.url.startswith((own, "data:", "blob:")) or wrong.append(asked.url))
        if isinstance(page_of, str):
            (tmp_path / "page.html").write_text(page_of, encoding="utf-8")
            page_of = tmp_path / "page.html"
        page.goto(page_of.as_uri() + fragment)
        page.wait_for_selector("[data-ready], .refusal")
        return page

    yield open_
    context.close()
    assert wrong == []


def state_of(page: Any) -> Any:
    return page.evaluate("silverstain.store.state")


def selection_of(page: Any) -> list[str]:
    return page.evaluate("silverstain.store.selection")


def run(page: Any, *commands: str) -> None:
    for command in commands:
        page.evaluate("(id) => silverstain.ui.run(id)", command)


def test_the_demo_opens_with_its_answer_its_groups_and_a_count_of_what_is_drawn(opened: Open, demo: Path):
    page = opened(demo)
    assert page.inner_text(".answer").split() == ["austin", "99.5", "%"]
    labels = page.locator(".box").evaluate_all("(all) => all.map((one) => one.dataset.key)")
    assert {"g:dallas is in texas", "g:relation = capital"} <= set(labels)
    assert page.inner_text(".counter b").endswith("% of the influence")
    page.click(".counter")
    hidden = sum(int(text.replace(",", "")) for text in page.locator(".why li b").all_inner_texts())
    drawn, total = page.evaluate("[silverstain.store.visible.drawn, silverstain.store.visible.total]")
    assert drawn + hidden == total


def test_a_click_selects_a_box_and_says_what_drives_it(opened: Open, demo: Path):
    page = opened(demo)
    page.click('.box[data-key="g:dallas is in texas"]')
    assert page.inner_text(".right h1") == "dallas is in texas"
    assert page.locator(".right .entry .name").first.inner_text() == "dal·las"
    assert "dallas is in texas" in page.inner_text(".live")
    page.click('.box[data-key="g:relation = capital"]', modifiers=["Shift"])
    assert page.inner_text(".right h1") == "2 selected"
    page.keyboard.press("Escape")
    assert page.inner_text(".right h1") == "How to read this"


def test_the_keyboard_alone_walks_groups_names_and_hides(opened: Open, demo: Path):
    page = opened(demo)
    page.keyboard.press("]")
    assert page.inner_text(".right h1") == "austin"
    page.keyboard.press("ArrowDown")
    assert selection_of(page) == ["g:dallas is in texas"]
    page.keyboard.press("ArrowDown")
    assert page.inner_text(".right h1") == "dal·las"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert selection_of(page) != ["g:dallas is in texas"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    page.keyboard.type("the state")
    page.keyboard.press("Enter")
    assert selection_of(page) == ["g:the state"]
    page.keyboard.press("h")
    page.keyboard.type("a test")
    page.keyboard.press("Enter")
    assert state_of(page)["hidden"] == {"g:the state": "a test"}
    assert page.locator('.box[data-key="g:the state"]').count() == 0
    page.keyboard.press("Control+z")
    assert page.locator('.box[data-key="g:the state"]').count() == 1
    page.keyboard.press("/")
    page.keyboard.type("relation")
    page.keyboard.press("Enter")
    assert selection_of(page) == ["g:relation = capital"]
    page.keyboard.press("Shift+G")
    assert "relation = capital" not in [group["label"] for group in state_of(page)["groups"]]


def test_undoing_all_gives_back_the_very_state_and_redoing_all_the_other(opened: Open, demo: Path):
    page = opened(demo)
    before = state_of(page)
    page.click('.box[data-key="g:dallas is in texas"]')
    run(page, "pin", "more", "ungroup", "flow")
    page.evaluate("silverstain.store.select(silverstain.store.page.graph.ids.slice(0, 3))")
    run(page, "group")
    page.keyboard.press("Enter")
    run(page, "circuit", "fewer", "straighten")
    dragged = page.locator('.box[data-key="g:relation = capital"]')
    dragged.scroll_into_view_if_needed()
    box = dragged.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 42, steps=4)
    page.mouse.up()
    after = state_of(page)
    assert after["places"] == {"g:relation = capital": [60, 30]}
    assert after["pins"]
    for _ in range(20):
        page.keyboard.press("Control+z")
    assert state_of(page) == before
    assert page.evaluate("silverstain.store.state === silverstain.store.initial")
    for _ in range(20):
        page.keyboard.press("Control+Shift+z")
    assert state_of(page) == after


PICTURE = """() => {
  const given = (node) => [...node.attributes].map((one) => `${one.name}=${one.value}`).sort();
  const told = (node) => node.nodeType === 3 ? node.data
    : [node.tagName, ...given(node), ...[...node.childNodes].map(told)];
  return told(document.querySelector('svg.circuit'));
}"""
"""All elements of the circuit with their attributes and texts."""


@pytest.mark.parametrize("width", [1440, 700], ids=["all of it is seen", "a part of it is seen"])
def test_a_picture_that_was_changed_step_by_step_is_the_one_drawn_from_nothing(
    opened: Open, width: int, tmp_path: Path
):
    page = opened(graph_html(random_graph(6, n_layers=5, n_positions=7, n_features=120, n_logits=3, n_attention=12)))
    page.set_viewport_size({"width": width, "height": 700})
    for step in range(30):
        page.evaluate("(k) => silverstain.store.select([silverstain.store.page.graph.ids[(k * 37 + 5) % 120]])", step)
        run(page, "pin", *(["more"] if step % 5 == 0 else []), *(["group"] if step == 11 else []))
        if step == 11:
            page.keyboard.press("Enter")
        if step % 7 == 6:
            run(page, "undo")
    for view in ("table", "circuit", "larger", "smaller", "fit", "clear"):
        run(page, view)
    page.wait_for_timeout(600)  # until the browser has kept it
    shown = page.evaluate(PICTURE)
    assert page.locator(".box").count() > 30
    page.evaluate("history.replaceState(null, '', location.pathname)")
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.evaluate(PICTURE) == shown


def test_what_comes_into_view_is_drawn(opened: Open):
    page = opened(graph_html(random_graph(6, n_layers=2, n_positions=7, n_features=120)))
    pins = "silverstain.store.page.graph.ids.slice(0, 90)"
    page.evaluate(f"silverstain.store.apply({{ ...silverstain.store.state, pins: {pins} }}, 'pins')")
    empty = "[...document.querySelectorAll('.box')].filter((box) => !box.querySelector('text')).length"
    assert page.evaluate(empty) > 0
    for left in (0, 100_000):
        page.evaluate(f"document.querySelector('.circuit-stage').scrollLeft = {left}")
        seen = """[...document.querySelectorAll('.box')].filter((box) => {
          const { left, right } = box.getBoundingClientRect();
          return right > 330 && left < 1100 && !box.querySelector('text');
        }).length"""
        page.wait_for_function(f"() => ({seen}) === 0")
    svg = page.evaluate("silverstain.stages.circuit.svg()")
    assert all(label in svg for label in page.evaluate("silverstain.store.circuit.boxes.map((box) => box.label)"))


def test_a_saved_story_is_opened_again_as_it_was_and_python_reads_it(opened: Open, demo: Path, tmp_path: Path):
    page = opened(demo)
    page.click('.box[data-key="g:relation = capital"]')
    run(page, "pin", "more", "flow")
    state = state_of(page)
    with page.expect_download() as download:
        run(page, "story")
    file = tmp_path / "saved.story.json"
    download.value.save_as(file)
    assert download.value.suggested_filename == "dallas.story.json"
    story = Story.load(file)
    assert story.graph_hash == Graph.load(demo.with_suffix(".safetensors")).hash
    assert list(story.pins) == state["pins"]
    assert story.evidence == Story.load(demo.with_name("dallas.story.json")).evidence
    run(page, "reset")
    assert state_of(page) != state
    page.set_input_files("input[type=file]", file)
    page.wait_for_selector(".notice:not([hidden])")
    assert state_of(page) == state


def test_work_is_here_again_after_the_page_is_loaded_again(opened: Open, demo: Path):
    page = opened(demo)
    page.click('.box[data-key="g:relation = capital"]')
    run(page, "pin", "ungroup")
    state = state_of(page)
    page.wait_for_timeout(600)
    page.evaluate("history.replaceState(null, '', location.pathname)")
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert state_of(page) == state
    assert "Your earlier work is here again" in page.inner_text(".notice")


def test_a_link_shows_another_person_the_same(opened: Open, demo: Path):
    page = opened(demo)
    run(page, "flow", "more")
    page.evaluate("silverstain.store.select(['3_1501_9'])")
    for _ in range(200):  # the address follows the state a moment later
        page.wait_for_timeout(50)
        fragment = page.evaluate("location.hash")
        if "selection" in base64.urlsafe_b64decode(fragment[3:] + "==").decode():
            break
    other = opened(demo, fragment=fragment)
    assert state_of(other) == state_of(page)
    assert selection_of(other) == selection_of(page)


@pytest.mark.parametrize("view", ["circuit", "flow"])
def test_the_picture_is_exported_with_every_label(opened: Open, demo: Path, tmp_path: Path, view: str):
    page = opened(demo)
    run(page, view)
    with page.expect_download() as download:
        run(page, "svg")
    download.value.save_as(tmp_path / "picture.svg")
    text = " ".join(ElementTree.parse(tmp_path / "picture.svg").getroot().itertext())
    for label in (
        ["austin", "capital"] if view == "flow" else ["austin", "dallas is in texas", "relation = capital", "dal·las"]
    ):
        assert label in text
    with page.expect_download() as download:
        run(page, "png")
    download.value.save_as(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    for command in ("markdown", "csv"):
        with page.expect_download() as download:
            run(page, command)
        download.value.save_as(tmp_path / command)
        assert "austin" in (tmp_path / command).read_text(encoding="utf-8")


def test_a_click_in_the_flow_selects_the_node_under_the_pointer(opened: Open, demo: Path):
    page = opened(demo)
    page.keyboard.press("2")
    page.wait_for_timeout(100)
    x, y = page.evaluate("silverstain.stages.flow.place('3_1501_9')")
    page.mouse.click(x + 2, y - 2)
    assert selection_of(page) == ["3_1501_9"]
    assert "L3.F1501@9" in page.inner_text(".right .facts")
    assert page.locator(".right .examples li").count() > 0
    page.keyboard.press("f")
    assert page.locator(".pathlist li").count() > 0


def test_the_table_says_what_the_picture_shows(opened: Open, demo: Path):
    page = opened(demo)
    picture = set(page.locator(".box").evaluate_all("(all) => all.map((one) => one.dataset.key)"))
    page.keyboard.press("3")
    table = set(page.locator(".table-stage tbody tr").evaluate_all("(all) => all.map((one) => one.dataset.key)"))
    assert table == picture


def test_every_command_runs_in_every_view(opened: Open, demo: Path):
    """What asks the system for a file, or leaves the page, is tested elsewhere."""
    page = opened(demo)
    commands = page.evaluate("[...document.querySelectorAll('.keylist li')].length")
    names = [
        "fit", "larger", "smaller", "input", "output", "left", "right", "previous", "next", "extend-input",
        "extend-left", "inspect", "paths", "pin", "rename", "unhide", "straighten", "unfilter", "more", "fewer", "undo",
        "redo", "ungroup", "read", "card", "clear",
    ]  # fmt: skip
    assert commands > len(names)
    for view in ("circuit", "flow", "table"):
        run(page, view, "next")
        for name in names:
            run(page, name)
    for name in ("search", "palette", "help"):
        run(page, name)
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0


def test_strangers_text_is_shown_as_text(opened: Open):
    graph = hostile_graph()
    ids = graph.nodes.ids()
    story = Story(labels={ids[0]: HOSTILE}, groups=(StoryGroup(label=HOSTILE[:80] + "\"'", members=tuple(ids[1:4])),))
    page = opened(graph_html(graph, story, name=HOSTILE))
    for view in ("circuit", "flow", "table"):
        run(page, view)
        for key in page.evaluate("silverstain.store.circuit.boxes.map((box) => box.key)"):
            page.evaluate("(key) => silverstain.store.select([key])", key)
    assert page.locator("img").count() == 0
    assert "alert(1)" in page.inner_text(".prompt")
    assert "\\x1b" in page.inner_text(".prompt") or "\\u001b" in page.inner_text(".prompt")


@pytest.mark.parametrize(
    "graph",
    [
        random_graph(2, n_layers=1, n_positions=2, n_features=1, n_logits=1),
        random_graph(3, n_layers=6, n_positions=8, n_features=80, n_logits=5, n_attention=20),
        random_graph(4, n_layers=2, n_positions=400, n_features=60),
        random_graph(1).with_meta({"prompt": "word " * 2000}),
        random_graph(1).with_meta({}),
    ],
    ids=["one layer", "attention", "400 tokens", "a prompt of 10,000 characters", "nothing is said of it"],
)
def test_graphs_of_all_shapes_are_drawn(opened: Open, graph: Graph):
    page = opened(graph_html(graph))
    assert page.locator(".box").count() > 0
    run(page, "next", "input", "flow", "next", "paths", "table")


def test_a_graph_without_answers_opens_and_says_what_it_has(opened: Open):
    page = opened(graph_html(random_graph(5, n_logits=0)))
    for view in ("circuit", "flow", "matrix", "table"):
        run(page, view, "next", "input")
    assert "nodes drawn" in page.inner_text(".counter")


SUMS = "silverstain.engine.where"
GRAPH = random_graph(3, n_layers=4, n_features=60, n_attention=10)


@pytest.mark.parametrize("few", [60_000, 0], ids=["opened by the page", "opened by the worker"])
def test_a_page_that_is_a_file_sums_in_a_worker_and_says_so(opened: Open, few: int):
    html = page_html(page_document(GRAPH))
    assert html.count("const FEW = 60_000;") == 1
    changed = html.replace("const FEW = 60_000;", f"const FEW = {few};")
    digest, mine = (script_digest(one) for one in (html, changed))
    page = opened(changed.replace(digest, mine))
    page.wait_for_selector(".trust .row[aria-busy=false] >> nth=1")
    assert page.evaluate(SUMS) == "worker"
    run(page, "help")
    assert "in a worker beside the page" in page.inner_text(".where")
    page.keyboard.press("Escape")
    check_sums(page)


def test_where_no_worker_may_start_the_page_sums_itself_and_says_so(opened: Open):
    html = page_html(page_document(GRAPH))
    refusing = "onmessage = ({ data }) => postMessage({ id: data.id, error: 'refused here' });"
    before, start, rest = html.partition('<script id="worker" type="text/plain">')
    page = opened(before + start + refusing + rest[rest.index("</script>") :])
    page.wait_for_selector(".trust .row[aria-busy=false] >> nth=1")
    run(page, "help")
    assert page.evaluate(SUMS) == "page"
    assert "in the page itself, which is slower on large graphs: refused here." in page.inner_text(".where")
    page.keyboard.press("Escape")
    check_sums(page)


def script_digest(html: str) -> str:
    """Of the page's own script, as its policy names it."""
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def check_sums(page: Any) -> None:
    """What is kept is what Python keeps of the same graph, whoever worked it out."""
    run(page, "flow")
    page.evaluate("silverstain.store.apply({ ...silverstain.store.state, nodeShare: 0.5 }, 'nodes')")
    filters = "{ ...silverstain.store.state.filters, pruned: true }"
    page.evaluate(f"silverstain.store.apply({{ ...silverstain.store.state, filters: {filters} }}, 'filter')")
    page.wait_for_selector(".trust .row[aria-busy=false] >> nth=1")
    page.wait_for_timeout(500)
    kept = page.evaluate("Array.from(silverstain.store.kept)")
    mask = GRAPH.prune(node_share=0.5).node_mask
    assert mask is not None
    assert kept == mask.int().tolist()
    assert page.evaluate("silverstain.store.visible.drawn") <= sum(kept)
    assert 0 <= page.evaluate("silverstain.store.scores.replacement") <= 1


def test_a_page_whose_document_is_cut_short_says_so(opened: Open):
    html = graph_html(random_graph(1)).replace('"silverstain.page/1"', '"silverstain.page/9"')
    page = opened(html)
    assert "This graph cannot be shown" in page.inner_text(".refusal")
    assert "was given silverstain.page/9" in page.inner_text(".refusal")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_nowhere_smaller_than_twelve_points(opened: Open, demo: Path, scheme: str):
    page = opened(demo)
    page.emulate_media(color_scheme=scheme)
    page.click('.box[data-key="g:dallas is in texas"]')
    sizes = page.evaluate(
        "[...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && [...one.childNodes]"
        ".some((node) => node.nodeType === 3 && node.textContent.trim()))"
        ".map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 12


DROP = """([text, name]) => {
  const given = new DataTransfer();
  given.items.add(new File([text], name));
  document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: given, bubbles: true, cancelable: true }));
}"""


def test_the_picture_alone_fills_the_window_and_prints_with_what_is_said(opened: Open, demo: Path, tmp_path: Path):
    page = opened(demo)
    wide = "document.querySelector('.middle').clientWidth"
    before = page.evaluate(wide)
    page.keyboard.press("w")
    assert page.evaluate(wide) == 1440 > before
    page.keyboard.press("w")
    assert page.evaluate(wide) == before
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_a_dialog_that_closes_gives_the_focus_to_the_picture_at_once(opened: Open, demo: Path, key: str):
    page = opened(demo)
    focused = page.evaluate(
        """(key) => {
        document.activeElement.blur();
        silverstain.ui.run('search');
        document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        return document.activeElement.matches('.middle *');
    }""",
        key,
    )
    assert focused
    assert page.locator("dialog[open]").count() == 0


FIRST_GROUP = "silverstain.store.select([silverstain.store.groups[0].key])"


@pytest.mark.parametrize(("key", "pane"), [("q", ".left"), ("i", ".right")])
def test_a_pane_fills_the_window_and_gives_it_back(opened: Open, demo: Path, key: str, pane: str):
    page = opened(demo)
    run(page, "next")
    chosen, wide = selection_of(page), f"document.querySelector('{pane}').clientWidth"
    before = page.evaluate(wide)
    page.keyboard.press(key)
    assert page.evaluate(wide) > 1400 > before
    for _ in range(30):  # what is covered is not reached
        page.keyboard.press("Tab")
        assert not page.evaluate("document.activeElement.matches('.middle *, .bottom *')")
    page.keyboard.press("Escape")
    assert page.evaluate(wide) == before
    assert selection_of(page) == chosen
    page.click(f"[data-wide={pane[1:]}]")
    assert page.get_attribute(f"[data-wide={pane[1:]}]", "aria-pressed") == "true"
    page.keyboard.press("2")  # another view shows it
    assert page.evaluate(wide) == before
    assert state_of(page)["view"] == "flow"


def test_a_card_shows_how_active_its_feature_is_and_where_it_stands_here(opened: Open, demo: Path):
    document = document_of(demo.with_suffix(".safetensors"))
    page = opened(page_html(document))
    page.evaluate(FIRST_GROUP)
    assert page.locator(".right .distribution .mark").count() == 2  # cards without a histogram: a scale
    assert "at most" in page.inner_text(".right .distribution figcaption")
    for card in document["cards"].values():
        card["histogram"] = {"bounds": [0.5, 1.0, 2.0, 1000.0], "counts": [30, 10, 60]}
    page = opened(page_html(document))
    page.evaluate(FIRST_GROUP)
    assert page.locator(".right .distribution .bin").count() == 3
    assert page.locator(".right .distribution .bin.is-here").count() == 1
    assert "of the 100 times it was active" in page.get_attribute(".right .distribution svg", "aria-label")


def test_a_circuit_taller_than_the_window_says_that_there_is_more_below(opened: Open, demo: Path):
    page = opened(demo)
    page.set_viewport_size({"width": 1024, "height": 420})
    page.wait_for_selector(".more-below:visible")
    assert "more below" in page.inner_text(".more-below")
    page.evaluate("document.querySelector('.circuit-stage').scrollTo(0, 1e6)")
    page.wait_for_selector(".more-below", state="hidden")


def test_the_server_opens_a_graph_and_keeps_its_story(opened: Open, browser: Any, tmp_path: Path):
    import uvicorn

    from silverstain.explorer.server import application
    from silverstain.explorer.serving import bound_socket

    graph = random_graph(1, n_features=20)
    graph.save(tmp_path / "one.safetensors")
    listening = bound_socket(0)
    server = uvicorn.Server(uvicorn.Config(application(tmp_path), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text))
        page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        page.click("li a")
        page.wait_for_selector("[data-ready]")
        run(page, "next", "input", "pin")
        pins = state_of(page)["pins"]
        run(page, "story")
        page.wait_for_selector(".notice:not([hidden])")
        assert page.inner_text(".notice") == "Wrote one.story.json"
        assert list(Story.load(tmp_path / "one.story.json").pins) == pins
        brought = tmp_path.parent / f"{tmp_path.name}-brought.json"
        random_graph(2).to_json(brought)
        page.set_input_files("input[type=file]", brought)  # on the page of a graph
        page.wait_for_url("**brought.json*")
        page.wait_for_selector("[data-ready]")
        page.click(".brand a")
        page.wait_for_selector("#bring")
        page.set_input_files("#file", {"name": "x.json", "mimeType": "", "buffer": b"{}"})  # on the start page
        page.wait_for_selector("#brought.is-error")
        assert "x.json" in page.inner_text("#brought")
        page.evaluate(DROP, [brought.read_text(), "dropped.json"])
        page.wait_for_url("**graph=dropped.json*")
        page.wait_for_selector("[data-ready]")
        wrong = [one for one in wrong if "400 (Bad Request)" not in one]
        assert wrong == []
        page.close()
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()
    assert json.loads((tmp_path / "one.story.json").read_text())["graph_hash"] == graph.hash
