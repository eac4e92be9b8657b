"""What the page asks of a running model: traces, and everything that is refused in a sentence."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.explorer.serving import OURS, done, events_of, refusal

from silverstain.attribution.secant import contrasting
from silverstain.explorer.folder import free_path
from silverstain.explorer.jobs import Job, Jobs
from silverstain.explorer.live import Live, offers_here
from silverstain.explorer.server import application
from silverstain.explorer.tracing import name_of, traced
from silverstain.graphs import Graph, Story

HOT = "the opposite of hot is"


@pytest.fixture
def client(tmp_path: Path, live: Live) -> Iterator[TestClient]:
    with TestClient(application(tmp_path, live), base_url="http://127.0.0.1:8400") as found:
        yield found


def test_a_prompt_is_traced_its_phases_told_and_its_graph_written(client: TestClient, tmp_path: Path):
    told = events_of(client, kind="trace", model="organism", prompt=HOT)
    assert {"tracing what led to the answer", "grouping and naming"} <= {one.get("name") for one in told}
    assert any(one["event"] == "progress" for one in told)
    assert told[-1] == {"event": "done", "graph": "the-opposite-of-hot-is.safetensors"}
    graph = Graph.load(tmp_path / told[-1]["graph"])
    assert graph.target_names[0] == "cold"
    assert graph.exactness() < 1e-5
    assert Story.load(tmp_path / "the-opposite-of-hot-is.story.json").graph_hash == graph.hash
    document = client.get("/api/document", params={"graph": told[-1]["graph"]}).json()
    assert document["prompt"] == HOT


def test_a_second_trace_of_a_prompt_takes_nothing_from_the_first(client: TestClient):
    first, second = (done(client, kind="trace", model="organism", prompt=HOT)["graph"] for _ in range(2))
    assert (first, second) == ("the-opposite-of-hot-is.safetensors", "the-opposite-of-hot-is-2.safetensors")


def test_an_example_is_traced_once_and_opened_afterwards(client: TestClient, tmp_path: Path):
    first = done(client, kind="trace", example="opposite")
    written = (tmp_path / first["graph"]).stat().st_mtime_ns
    again = events_of(client, kind="trace", example="opposite")
    assert again[-1] == first
    assert not [one for one in again if one["event"] == "phase"]
    assert (tmp_path / first["graph"]).stat().st_mtime_ns == written


def test_the_start_page_offers_what_is_here(client: TestClient):
    page = client.get("/").text
    assert "the capital of the state containing dallas is" in page
    assert 'data-example="dallas"' in page
    assert client.get("/api/models").json()[0]["name"] == "organism"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "trace", "model": "organism", "prompt": "  "}, "there is no prompt"),
        ({"kind": "trace", "model": "organism", "prompt": "word " * 2001}, "the prompt has 10,005 characters"),
        ({"kind": "trace", "model": "organism", "prompt": "hot " * 2500}, "the prompt has 2501 tokens"),
        ({"kind": "trace", "model": "organism", "prompt": "zebrafish flurble"}, "zebrafish"),
        ({"kind": "trace", "model": "/etc", "prompt": HOT}, "this server has no model '/etc'"),
        ({"kind": "trace", "model": "../secret", "prompt": HOT}, "this server has no model '../secret'"),
        ({"kind": "trace", "example": "nothing"}, "there is no example 'nothing'"),
        ({"kind": "trace", "model": 3, "prompt": HOT}, "model: input should be a valid string"),
        ({"kind": "trace", "model": "organism", "prompt": HOT, "other": "the opposite of the word hot is"}, "tokens"),
        ({"kind": "format"}, "this server cannot do 'format'"),
        ({"kind": ["trace"]}, "this server cannot do ['trace']"),
        ({"kind": "lens", "graph": "../secret.safetensors"}, "there is no file '../secret.safetensors'"),
        ({"kind": "lens", "graph": 7}, "there is no file ''"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(client: TestClient, asked: dict[str, Any], said: str):
    sentence = refusal(client, **asked)
    assert said in sentence
    assert "\n" not in sentence
    assert "Traceback" not in sentence


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"null", b"3", b'"trace"', b"\xff\xfe"])
def test_a_request_that_is_no_json_of_ours_is_refused(client: TestClient, body: bytes):
    answer = client.post("/api/work", content=body, headers=OURS)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) < 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        OURS | {"origin": "http://evil.example"},
        OURS | {"host": "evil.example"},
        OURS | {"sec-fetch-site": "cross-site"},
    ],
)
def test_no_other_site_can_have_the_model_run(client: TestClient, headers: dict[str, str], tmp_path: Path):
    answer = client.post("/api/work", json={"kind": "trace", "model": "organism", "prompt": HOT}, headers=headers)
    assert answer.status_code == 403
    assert list(tmp_path.iterdir()) == []


def test_fifty_traces_at_once_are_all_done_or_refused_and_the_server_lives(client: TestClient, tmp_path: Path):
    words = ["hot", "tall", "big", "old", "rich"]
    found: list[dict[str, Any]] = []

    def ask(k: int) -> None:
        headers = {"x-silverstain": str(k % 7)}
        asked = {"kind": "trace", "model": "organism", "prompt": f"the opposite of {words[k % 5]} is"}
        answer = client.post("/api/work", json=asked, headers=headers)
        import json

        found.append(json.loads(answer.text.splitlines()[-1]))

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert len(found) == 50
    written = [one["graph"] for one in found if one.get("event") == "done"]
    assert len(set(written)) == len(written)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == sorted(written)
    assert all("error" in one for one in found if one.get("event") != "done")
    assert len(written) >= 40
    assert done(client, kind="trace", model="organism", prompt=HOT)["graph"]


def test_a_model_that_a_person_names_is_offered_first():
    offers = offers_here("organism/quirk", "per-layer")
    assert (offers[0].model, offers[0].dictionary) == ("organism/quirk", "per-layer")
    assert [one.name for one in offers_here("organism", "cross-layer")].count("organism") == 1


def test_files_are_named_after_prompts(tmp_path: Path):
    assert name_of("la palabra frío en inglés es") == "la-palabra-frio-en-ingles-es"
    assert name_of("../../etc/passwd\0") == "etc-passwd"
    assert name_of("日本") == "graph"
    assert len(name_of("word " * 100)) <= 48
    (tmp_path / "a.story.json").write_text("{}")
    assert free_path(tmp_path, "a").name == "a-2.safetensors"


def test_a_contrast_that_is_cancelled_stops_within_its_runs_and_the_model_serves_the_next(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is told while both prompts run: it is the next operation that stops."""
    asked = {"model": "organism", "prompt": "the opposite of old is", "other": "the opposite of big is"}
    came_to_its_end: list[bool] = []
    is_cancelled = [True]
    record = contrasting.record_pair

    async def scene() -> list[dict[str, Any]]:
        job = Job("a", lambda job: traced(tmp_path, live, asked, job))

        def cancelled_meanwhile(*given: Any, **more: Any) -> Any:
            if is_cancelled[0]:
                job.cancel()
            found = record(*given, **more)
            came_to_its_end.append(True)
            return found

        monkeypatch.setattr(contrasting, "record_pair", cancelled_meanwhile)
        jobs = Jobs()
        jobs.submit(job)
        told = [event async for event in job.events()]
        jobs.close()
        return told

    assert asyncio.run(scene())[-1] == {"event": "cancelled"}
    assert came_to_its_end == []
    assert list(tmp_path.iterdir()) == []
    is_cancelled[0] = False
    assert asyncio.run(scene())[-1]["event"] == "done"
    assert came_to_its_end == [True]
