"""What strangers, hasty people and damaged files may send: a sentence each, and the server goes on."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from tests.explorer.serving import OURS, served
from tests.explorer.test_page import CHROMIUM, playwright
from tests.graphs.conftest import random_graph

from silverstain.explorer import tracing, work
from silverstain.explorer.jobs import MOST_WAITING, Job
from silverstain.explorer.live import Live
from silverstain.explorer.server import application
from silverstain.graphs import Story


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tracing that takes no model: what was asked for, in order."""
    asked: list[str] = []

    def trace(folder: Path, live: Live, wanted: dict[str, Any], job: Job) -> dict[str, Any]:
        asked.append(wanted["prompt"])
        job.phase("tracing")
        graph = random_graph(len(asked)).with_meta({"prompt": wanted["prompt"]})
        return {"graph": tracing._written(folder, graph, Story(graph_hash=graph.hash), None)}

    monkeypatch.setitem(work.KINDS, "trace", trace)
    return asked


def asked_of(address: str, k: int) -> list[dict[str, Any]]:
    """The events of one of many requests, from one of seven people."""
    body = {"kind": "trace", "model": "organism", "prompt": f"prompt {k % 10}"}
    answer = httpx2.post(f"{address}/api/work", json=body, headers={"x-silverstain": str(k % 7)}, timeout=120)
    return [json.loads(line) for line in answer.text.splitlines()]


def test_what_is_too_much_is_refused_in_a_sentence_and_nothing_that_waits_is_lost(tmp_path: Path, traced: list[str]):
    n = MOST_WAITING + 40
    with served(tmp_path) as address, ThreadPoolExecutor(n) as pool:
        answers = list(pool.map(lambda k: asked_of(address, k), range(n)))
        done = [events for events in answers if events[-1].get("event") == "done"]
        refused = [events for events in answers if "error" in events[-1]]
        assert len(done) + len(refused) == n
        assert len(done) >= MOST_WAITING
        assert all("requests wait already; try again" in events[-1]["error"] for events in refused)
        assert asked_of(address, 0)[-1]["event"] == "done"


@pytest.mark.parametrize(
    ("letters", "said"),
    [(10_000, "tokens"), (10_001, "has 10,001 characters, and the page takes at most 10,000")],
)
def test_a_prompt_of_ten_thousand_letters_is_refused_in_a_sentence(tmp_path: Path, live: Live, letters: int, said: str):
    with TestClient(application(tmp_path, live), base_url="http://127.0.0.1:8400") as client:
        prompt = ("the " * letters)[:letters]
        body = {"kind": "trace", "model": "organism", "prompt": prompt}
        last = json.loads(client.post("/api/work", json=body, headers=OURS).text.splitlines()[-1])
    assert last["event"] == "error"
    assert said in last["error"]
    assert len(last["error"]) < 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8400"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("kind", ["trace", "experiment", "curves", "patch", "lens", "activity", "proposals"])
def test_work_for_a_stranger_is_not_begun(tmp_path: Path, traced: list[str], headers: dict[str, str], kind: str):
    client = TestClient(application(tmp_path), base_url="http://127.0.0.1:8400")
    answer = client.post("/api/work", json={"kind": kind, "prompt": "a"}, headers=OURS | headers)
    assert answer.status_code == 403
    assert traced == []


def test_a_page_of_another_site_cannot_begin_work_from_a_browser(tmp_path: Path, traced: list[str]):
    with served(tmp_path) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        found = page.evaluate(
            """async (address) => {
              const body = JSON.stringify({ kind: 'trace', model: 'organism', prompt: 'a' });
              const ask = (given) => fetch(`${address}/api/work`, { method: 'POST', body, ...given })
                .then((a) => a.type, () => 'refused');
              const plain = await ask({ mode: 'no-cors', headers: { 'content-type': 'text/plain' } });
              const ours = await ask({ headers: { 'x-silverstain': '1' } });
              const read = await fetch(`${address}/api/graphs`).then((a) => a.text(), () => 'refused');
              return [plain, ours, read];
            }""",
            address,
        )
        browser.close()
    assert found == ["opaque", "refused", "refused"]
    assert traced == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "a/../../secret.safetensors",
        "%2e%2e/secret.safetensors",
        "..\\secret.safetensors",
    ],
)
def test_no_work_is_done_on_a_graph_outside_of_the_folder(tmp_path: Path, path: str):
    random_graph(1).save(tmp_path / "secret.safetensors")
    (tmp_path / "open").mkdir()
    random_graph(2).save(tmp_path / "open" / "one.safetensors")
    with TestClient(application(tmp_path / "open"), base_url="http://127.0.0.1:8400") as client:
        for kind in set(work.KINDS) - {"trace"}:
            answer = client.post("/api/work", json={"kind": kind, "graph": path}, headers=OURS)
            last = json.loads(answer.text.splitlines()[-1])
            assert last["error"].startswith("there is no file "), kind
        compared = client.get("/api/compare", params={"left": "one.safetensors", "right": path})
        assert compared.status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is no JSON"),
        (b'{"kind": "trace"', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"kind": "delete"}', "cannot do 'delete'"),
        (b'{"kind": ["trace"]}', "cannot do"),
        (b"[1, 2]", "cannot do"),
        (b'{"kind": "' + b"x" * 100_000 + b'"}', "cannot do"),
        (b" " * (5 << 20), "larger than 4 MB"),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(tmp_path: Path, body: bytes, said: str):
    client = TestClient(application(tmp_path), base_url="http://127.0.0.1:8400")
    answer = client.post("/api/work", content=body, headers=OURS)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert len(answer.json()["error"]) < 300
