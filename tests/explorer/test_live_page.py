"""The page beside a running model, in a browser: tracing, the lab, and the views that a model answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.explorer.conftest import OAKLAND
from tests.explorer.javascript import tool
from tests.explorer.serving import served
from tests.explorer.test_page import CHROMIUM, playwright, run, state_of

from silverstain.explorer.folder import document_of
from silverstain.explorer.live import Live
from silverstain.explorer.pages import page_html
from silverstain.graphs import Graph, Story
from silverstain.known_models import is_kept

SLOW = 240_000
"""Milliseconds: a machine that is busy takes its time."""


@pytest.fixture(scope="module")
def address(folder: Path, live: Live) -> Iterator[str]:
    with served(folder, live) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that fails the test if it says anything on the console or asks another place."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    found, wrong = context.new_page(), []
    found.set_default_timeout(SLOW)
    found.on("console", lambda said: wrong.append(said.text))
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("request", lambda asked: asked.url.startswith((address, "data:", "blob:")) or wrong.append(asked.url))
    yield found
    context.close()
    assert wrong == []


def opened(page: Any, address: str, graph: str = "dallas.safetensors") -> Any:
    page.goto(f"{address}/view?graph={graph}")
    page.wait_for_selector("[data-ready]")
    return page


def kept(page: Any) -> dict[str, Any]:
    """The experiment that was kept last."""
    return state_of(page)["evidence"][-1]


def ran(page: Any) -> None:
    page.click("[data-focus=go]")
    page.wait_for_selector('.lab .status:has-text("Kept in your story")')


def test_a_prompt_typed_on_the_start_page_becomes_a_graph_that_is_opened(page: Any, address: str, folder: Path):
    page.goto(address)
    page.wait_for_selector("[data-ready]")
    page.fill("#prompt", "the opposite of hot is")
    page.keyboard.press("Enter")
    page.wait_for_selector("#phase:not(:empty)")
    page.wait_for_url("**/view?graph=the-opposite-of-hot-is.safetensors")
    page.wait_for_selector("[data-ready]")
    assert page.inner_text(".answer").split()[0] == "cold"
    assert (folder / "the-opposite-of-hot-is.story.json").is_file()


def test_a_prompt_that_cannot_be_traced_says_so_and_keeps_what_was_typed(page: Any, address: str):
    page.goto(address)
    page.wait_for_selector("[data-ready]")
    page.fill("#prompt", "zebrafish flurble")
    page.click("button.primary")
    page.wait_for_selector(".status.is-error")
    assert "zebrafish" in page.inner_text("#phase").lower()
    assert page.input_value("#prompt") == "zebrafish flurble"


def test_two_prompts_become_a_contrast(page: Any, address: str):
    page.goto(address)
    page.wait_for_selector("[data-ready]")
    page.click("#compare")
    page.fill("#prompt", "the opposite of old is")
    page.fill("#other", "the opposite of big is")
    page.click("button.primary")
    page.wait_for_url("**/view**")
    page.wait_for_selector("[data-ready]")
    assert page.locator("[data-view=contrast]").count() == 1


def test_past_work_is_found_by_its_words_and_tags(page: Any, address: str, folder: Path):
    beside = folder / "towns.story.json"
    Story(graph_hash=Graph.load(folder / "towns.safetensors").hash, view={"tags": ["two towns"]}).save(beside)
    page.goto(address)
    page.wait_for_selector("[data-ready]")
    page.fill("#filter", "oakland")
    assert page.locator("#graphs > li:visible").count() == 1
    page.fill("#filter", "")
    page.click('[data-tag="two towns"]')
    assert "oakland" in page.locator("#graphs > li:visible").inner_text()
    beside.unlink()


def test_texas_becomes_california_in_the_lab_streamed_and_kept(page: Any, address: str, folder: Path):
    opened(page, address)
    page.keyboard.press("l")
    page.click("text=Run again")
    page.wait_for_selector('.lab .status:has-text("Kept in your story")')
    assert kept(page)["says"] == ["austin", "sacramento"]
    assert page.inner_text(".result .outcome h3") == "austin → sacramento"
    page.click(".lab [aria-label='Close the lab']")
    run(page, "clear", "lab")
    page.click("[data-focus=add-position]")
    page.fill("[data-focus=donor]", OAKLAND)
    ran(page)
    assert kept(page)["says"] == ["austin", "sacramento"]
    assert kept(page)["generated"]["edited"].startswith("sacramento")
    page.keyboard.press("Escape")
    run(page, "story")
    page.wait_for_selector('.notice:has-text("Wrote dallas.story.json")')
    assert Story.load(folder / "dallas.story.json").evidence[-1]["says"] == ["austin", "sacramento"]


def test_an_experiment_can_be_undone_repeated_and_is_refused_out_of_range(page: Any, address: str):
    opened(page, address)
    before = len(state_of(page)["evidence"])
    page.click('.box[data-key="g:dallas is in texas"]')
    page.keyboard.press("l")
    page.select_option("[data-focus=op-0]", "scale")
    page.fill("[data-focus=value-0]", "1e9")
    page.click("[data-focus=go]")
    page.wait_for_selector(".lab .status.is-error")
    assert "out of range" in page.inner_text(".lab .status")
    page.fill("[data-focus=value-0]", "-2")
    ran(page)
    first = kept(page)
    assert page.locator(".lab .scatter circle").count() > 0
    ran(page)
    assert kept(page) == first
    assert len(state_of(page)["evidence"]) == before + 1
    run(page, "undo", "undo")
    assert len(state_of(page)["evidence"]) == before


def test_an_experiment_is_cancelled(page: Any, address: str):
    opened(page, address)
    page.click('.box[data-key="g:dallas is in texas"]')
    page.keyboard.press("l")
    page.click(".lab details summary")
    page.fill("[data-focus=tokens]", "60")
    before = len(state_of(page)["evidence"])
    page.click("[data-focus=go]")
    page.click(".lab .run button:has-text('Cancel')")
    page.wait_for_selector('.lab .status:has-text("Cancelled")')
    assert len(state_of(page)["evidence"]) == before
    ran(page)  # the server serves the next one


def tab_to(page: Any, is_there: str, most: int = 60) -> None:
    """Press Tab until the element in focus is as wanted."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"((one) => {is_there})(document.activeElement)"):
            return
    raise AssertionError(f"Tab leads nowhere where {is_there}")


def test_a_circuit_is_read_grouped_tested_and_kept_by_keyboard_alone(page: Any, address: str, folder: Path):
    """From the start page to the saved story: no pointer, undo gives back the very state, and a reload the story's."""
    beside = folder / "dallas.story.json"
    before = beside.read_bytes()
    press = page.keyboard.press
    page.goto(address)
    page.wait_for_selector("[data-ready]")
    tab_to(page, "one.matches('a[href*=dallas]')")
    press("Enter")
    page.wait_for_url("**/view**")
    page.wait_for_selector("[data-ready]")
    as_it_came = state_of(page)

    press("]")  # read: the answer, and what drives it, in the inspector
    press("Enter")
    assert page.evaluate("document.activeElement.matches('.right')")
    tab_to(page, "one.matches('.right .entry')")
    press("Enter")
    assert page.inner_text(".right h1") == "dallas is in texas"
    assert "dallas is in texas" in page.inner_text(".live")
    press("f")
    assert page.locator(".pathlist li").count() > 0

    press("/")  # group: two boxes become one, with a name
    page.keyboard.type("relation")
    press("Enter")
    press("Shift+ArrowRight")
    chosen = page.evaluate("silverstain.store.selection")
    if len(chosen) < 2:  # the box is the last of its row
        press("Shift+ArrowUp")
        press("Shift+ArrowDown")
    nodes = set(page.evaluate("silverstain.store.selectedNodes.map((i) => silverstain.store.page.graph.ids[i])"))
    press("g")
    page.keyboard.type("what is asked")
    press("Enter")
    group = next(one for one in state_of(page)["groups"] if one["label"] == "what is asked")
    assert set(group["members"]) <= nodes
    assert len(group["members"]) > 100
    press(" ")
    press(".")
    changed = state_of(page)
    assert changed["pins"]
    for _ in range(12):
        press("Control+z")
    assert state_of(page) == as_it_came
    for _ in range(12):
        press("Control+Shift+z")
    assert state_of(page) == changed

    press("/")  # test: switch it off in the running model
    page.keyboard.type("what is asked")
    press("Enter")
    press("l")
    assert page.evaluate("document.activeElement.dataset.focus") == "op-0"
    tab_to(page, "one.dataset.focus === 'go'", 12)
    press("Enter")
    page.wait_for_selector('.lab .status:has-text("Kept in your story")')
    assert kept(page)["name"] == "what is asked off"
    assert "what is asked off" in page.inner_text(".live")
    press("Escape")
    assert page.locator(".lab").is_hidden()

    press("Control+s")  # keep: the story's file, out of which the page opens as it was
    page.wait_for_selector('.notice:has-text("Wrote dallas.story.json")')
    saved = state_of(page)
    page.evaluate("(localStorage.clear(), history.replaceState(null, '', location.href.split('#')[0]))")
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.evaluate("silverstain.store.state === silverstain.store.initial")
    assert state_of(page) == saved
    beside.write_bytes(before)


def test_a_slider_over_units_patches_the_running_model(page: Any, address: str, folder: Path):
    opened(page, address, "towns.safetensors")
    page.keyboard.press("4")
    page.click("[data-focus=measure]")
    page.wait_for_selector(".proof b:has-text('turn')")
    assert page.locator(".kcurve path.curve").count() == 3
    page.locator("[data-focus=k]").fill("14")
    page.wait_for_selector(".patched b:has-text('sacramento')")
    page.locator("[data-focus=k]").fill("0")
    page.wait_for_selector(".patched b:has-text('austin')")
    run(page, "story")
    page.wait_for_selector(".notice:not([hidden])")
    curves = [one for one in Story.load(folder / "towns.story.json").evidence if one["kind"] == "curves"]
    assert set(curves[0]["curves"]) == {"signed", "largest_change", "random"}


def test_the_lens_shows_when_the_answer_takes_shape(page: Any, address: str):
    opened(page, address)
    page.keyboard.press("6")
    page.wait_for_selector(".lens tbody tr")
    last = page.locator(".lens tbody tr").first.locator("td").last
    assert last.inner_text().strip() == "austin"
    last.locator("button").click()
    page.wait_for_selector(".lens .rank")
    assert "#1" in page.locator(".lens tbody tr").first.locator("td").last.inner_text()


def test_two_graphs_are_compared(page: Any, address: str):
    opened(page, address)
    page.keyboard.press("7")
    page.wait_for_selector("[data-focus=other] option[value='towns.safetensors']", state="attached")
    page.select_option("[data-focus=other]", "towns.safetensors")
    page.wait_for_selector(".union circle")
    page.click("[data-focus=side-shared]")
    assert set(page.locator(".compare-stage tbody tr td:nth-child(2)").all_inner_texts()) == {"both"}


def test_proposed_groups_are_accepted_and_rejected_one_by_one(page: Any, address: str):
    opened(page, address, "towns.safetensors")
    run(page, "propose")
    page.wait_for_selector(".proposals li")
    n = page.locator(".proposals li").count()
    page.click("[data-focus=accept-0]")
    left = page.locator(".proposals li").count()
    assert left < n  # itself, and those with whom it shared nearly all of their members
    assert len(state_of(page)["groups"]) == 1
    page.click("[data-focus=reject-0]")
    assert page.locator(".proposals li").count() == left - 1
    run(page, "undo")
    assert state_of(page)["groups"] == []


def test_a_page_that_is_a_file_shows_its_experiments_and_says_how_to_run_more(
    browser: Any, folder: Path, tmp_path: Path
):
    file = tmp_path / "page.html"
    file.write_text(page_html(document_of(folder / "dallas.safetensors")), encoding="utf-8")
    found = browser.new_page()
    found.goto(file.as_uri())
    found.wait_for_selector("[data-ready]")
    found.keyboard.press("l")
    assert "silverstain explore" in found.inner_text(".lab")
    assert found.is_disabled("[data-focus=go]")
    found.click(".kept .reference >> nth=0")
    assert found.inner_text(".result .outcome h3") == "austin → sacramento"
    assert found.locator("[data-view=lens]").count() == 0
    found.close()


@pytest.mark.parametrize("theme", ["light", "dark", "high contrast"])
def test_axe_finds_no_serious_fault(browser: Any, address: str, theme: str):
    script = (tool("axe-core") / "axe.min.js").read_text(encoding="utf-8")
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    page.emulate_media(
        color_scheme="dark" if theme == "dark" else "light", contrast="more" if theme == "high contrast" else None,
        reduced_motion="reduce",
    )  # fmt: skip
    faults = []

    def check(where: str) -> None:
        page.wait_for_timeout(300)
        page.evaluate(script)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        faults.extend(
            f"{where}: {one['id']}: {one['nodes'][0]['html'][:160]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        )

    page.goto(address)
    page.wait_for_selector("[data-ready]")
    check("start page")
    opened(page, address, "towns.safetensors")
    for key, ready in {
        "1": ".box",
        "2": "canvas",
        "3": "tbody",
        "4": ".both",
        "5": ".matrix",
        "6": ".lens",
        "7": ".compare-stage h2",
    }.items():
        page.keyboard.press(key)
        page.wait_for_selector(ready)
        check(f"view {key}")
    page.keyboard.press("1")
    page.locator(".box").nth(3).click()
    for key in ("i", "q"):
        page.keyboard.press(key)
        check(f"the pane of {key} alone")
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    check("lab")
    context.close()
    assert faults == []


@pytest.mark.skipif(not is_kept("smollm2-135m"), reason="smollm2-135m is not here: silverstain models get smollm2-135m")
def test_france_becomes_spain_in_the_page(browser: Any, tmp_path: Path):
    import silverstain

    loaded = silverstain.load("smollm2-135m", dictionary="neurons")
    graph = loaded.contrast("The capital of France is", "The capital of Spain is").prune()
    graph.save(tmp_path / "capital.safetensors")
    loaded.read(graph).save(tmp_path / "capital.story.json")
    with served(tmp_path) as address:
        page = browser.new_page()
        page.set_default_timeout(SLOW)
        opened(page, address, "capital.safetensors")
        page.keyboard.press("4")
        page.locator("[data-focus=k]").fill("14")
        page.wait_for_selector(".patched b:has-text('Madrid')")
        page.locator("[data-focus=order]").select_option("random")
        page.wait_for_selector(".patched b:has-text('Paris')")
        page.close()


@pytest.mark.skipif(not is_kept("smollm2-135m"), reason="smollm2-135m is not here: silverstain models get smollm2-135m")
def test_the_example_of_a_real_model_comes_with_its_proof(browser: Any, tmp_path: Path):
    with served(tmp_path) as address:
        page = browser.new_page()
        page.set_default_timeout(SLOW)
        page.goto(address)
        page.wait_for_selector("[data-ready]")
        page.click("text=Paris or Madrid")
        page.wait_for_url("**/view?graph=*")
        page.wait_for_selector("[data-ready]")
        page.keyboard.press("4")
        assert page.locator(".kcurve path.curve").count() == 3
        assert "units turn the answer" in page.inner_text(".proof")
        assert "Not measured" not in page.inner_text(".proof")
        page.close()


def test_the_reading_pane_says_what_the_model_would_say_after_each_word(browser: Any, address: str):
    page = browser.new_page()
    page.set_default_timeout(SLOW)
    opened(page, address, "dallas.safetensors")
    page.click("text=What would it say after each word?")
    page.wait_for_selector(".nextwords li")
    said = [text.split() for text in page.locator(".nextwords li").all_inner_texts()]
    assert len(said) == page.evaluate("silverstain.store.page.document.tokens.length")
    assert said[-1] == ["is", "→", "austin", "99.5", "%"]
    page.close()
