"""The widget of a notebook: its Python side, and its page in a browser beside a model that stands in for a kernel's."""

import sys

import pytest
from tests.explorer.test_page import CHROMIUM, playwright
from tests.graphs.conftest import random_graph

from silverstain.errors import UsageError
from silverstain.explorer.bundle import module_source
from silverstain.explorer.document import page_document
from silverstain.explorer.pages import page_html
from silverstain.explorer.widget import _widget_class, graph_widget
from silverstain.graphs import Story

MODEL = """(page) => {
  const [values, calls] = [{ page, height: 700, selection: [], nodes: [], story: {} }, []];
  globalThis.model = {
    saved: 0,
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; },
    save_changes() { this.saved++; },
    on: (name, call) => calls.push([name, call]),
    off: (name, call) => calls.splice(calls.findIndex(([n, c]) => n === name && c === call), 1),
    fromPython(name, value) {
      values[name] = value;
      for (const [n, call] of calls) if (n === `change:${name}`) call();
    },
    calls,
  };
}"""


def test_what_is_selected_in_the_page_reaches_the_model_and_what_the_model_selects_the_page():
    graph = random_graph(1, n_features=20)
    story = Story(graph_hash=graph.hash)
    ids = graph.nodes.ids()
    document = page_document(graph, story) | {"in_widget": True}
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.evaluate(MODEL, page_html(document))
        page.evaluate(
            """async (source) => {
              const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
              const { default: widget } = await import(url);
              const el = document.createElement('div');
              document.body.append(el);
              globalThis.stop = widget.render({ model, el });
            }""",
            module_source("widget"),
        )
        inside = page.frame_locator("iframe")
        inside.locator("[data-ready]").wait_for()
        inside.locator(".box").first.click()
        page.wait_for_function("model.get('nodes').length > 0")
        assert set(page.evaluate("model.get('nodes')")) <= set(ids)
        page.evaluate("(id) => model.fromPython('selection', [id])", ids[0])
        page.wait_for_function("(id) => JSON.stringify(model.get('nodes')) === JSON.stringify([id])", arg=ids[0])
        inside.locator("[data-focus=do-pin]").click()
        page.wait_for_function("model.get('story').pins?.length === 1")
        assert Story.from_json(page.evaluate("model.get('story')"), "the page").pins == (ids[0],)
        page.evaluate("stop()")
        assert page.evaluate("model.calls.length") == 0
        browser.close()
    assert wrong == []


def test_a_page_that_is_in_no_widget_tells_nobody_anything():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.evaluate(
            """(html) => {
              globalThis.heard = [];
              addEventListener('message', (event) => heard.push(event.data));
              const frame = Object.assign(document.createElement('iframe'), { srcdoc: html });
              document.body.append(frame);
            }""",
            page_html(page_document(random_graph(1))),
        )
        inside = page.frame_locator("iframe")
        inside.locator("[data-ready]").wait_for()
        inside.locator(".box").first.click()
        page.wait_for_timeout(400)
        assert page.evaluate("heard") == []
        browser.close()


def test_python_holds_the_page_and_gives_back_the_story():
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'silverstain[widget]'")
    graph = random_graph(1)
    shown = graph_widget(graph, Story(graph_hash=graph.hash, labels={"0_5": "means"}), height=500)
    assert shown.height == 500
    assert '"in_widget":true' in shown.page
    assert shown.kept_story().labels == {"0_5": "means"}
    shown.story = {"pins": 3}
    with pytest.raises(UsageError, match="cannot read the story that the page sent: "):
        shown.kept_story()


def test_without_anywidget_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    _widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(UsageError, match=r"pip install 'silverstain\[widget\]'"):
        graph_widget(random_graph(1))
    _widget_class.cache_clear()
