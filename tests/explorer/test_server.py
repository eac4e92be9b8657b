"""The server: it answers this machine alone, stays in its folder, and writes stories only."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient
from tests.graphs.conftest import random_graph

from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.explorer.folder import checked_folder, graphs_in
from silverstain.explorer.server import application
from silverstain.explorer.serving import address_of, bound_socket
from silverstain.graphs import Graph, Story, StoryGroup, open_with_story

OURS = {"x-silverstain": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a graph of each kind, and a secret beside it."""
    inside = tmp_path / "open"
    graph = random_graph(1)
    graph.save(inside / "one.safetensors")
    Story(graph_hash=graph.hash, labels={"0_5": "means"}).save(inside / "one.story.json")
    graph.to_json(inside / "deeper" / "two.json")
    (inside / "other.json").write_text('{"a": 1}')
    (inside / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{nothing")
    (tmp_path / "secret.safetensors").write_bytes((inside / "one.safetensors").read_bytes())
    (inside / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    return inside


@pytest.fixture
def client(folder: Path) -> TestClient:
    return TestClient(application(folder), base_url="http://127.0.0.1:8400", raise_server_exceptions=False)


def test_the_start_page_lists_the_graphs_of_the_folder(client: TestClient):
    page = client.get("/")
    assert page.status_code == 200
    assert "one.safetensors" in page.text
    assert "deeper/two.json" in page.text
    assert "a b c" in page.text
    assert "other.json" not in page.text
    assert "broken" not in page.text


def test_an_empty_folder_says_how_to_make_a_graph(tmp_path: Path):
    client = TestClient(application(tmp_path), base_url="http://localhost:8400")
    assert "silverstain trace" in client.get("/").text


@pytest.mark.parametrize("path", ["one.safetensors", "deeper/two.json"])
def test_a_graph_of_ours_and_of_other_tools_is_given_to_the_page(client: TestClient, path: str):
    document = client.get("/api/document", params={"graph": path}).json()
    assert document["format"] == "silverstain.page/1"
    assert document["prompt"] == "a b c"
    assert document["name"] == Path(path).name


def test_the_page_and_its_modules_are_served_and_name_no_other_place(client: TestClient):
    page = client.get("/view?graph=one.safetensors")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert '<script type="module" src="/static/start.js">' in page.text
    module = client.get("/static/start.js")
    assert module.status_code == 200
    assert "javascript" in module.headers["content-type"]


def test_the_page_can_be_taken_away_as_one_file(client: TestClient):
    page = client.get("/api/page?graph=one.safetensors")
    assert page.headers["content-disposition"] == 'attachment; filename="one.html"'
    assert '<script id="document"' in page.text


@pytest.mark.parametrize(
    "path",
    ["../secret.safetensors", "/etc/passwd", "deeper/../../secret.safetensors", "link.safetensors", "", ".", "nothing",
     "one.safetensors\0", "x" * 5000, "deeper"],
)  # fmt: skip
@pytest.mark.parametrize("route", ["/api/document", "/api/page"])
def test_nothing_outside_of_the_folder_is_read(client: TestClient, route: str, path: str):
    answer = client.get(route, params={"graph": path})
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("there is no file ")


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py"])
def test_nothing_beside_the_modules_is_served(client: TestClient, path: str):
    assert client.get(path).status_code == 404


def test_a_damaged_graph_is_refused_in_a_sentence(client: TestClient):
    answer = client.get("/api/document", params={"graph": "broken.safetensors"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("cannot read ")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8400", "127.0.0.1.evil.example", ""])
@pytest.mark.parametrize("path", ["/", "/view", "/api/document?graph=one.safetensors", "/static/start.js"])
def test_a_request_for_another_host_is_refused(client: TestClient, host: str, path: str):
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 403
    assert "answers for 127.0.0.1 alone" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8400"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_request_from_another_page_is_refused(client: TestClient, headers: dict[str, str]):
    for send in (client.get, client.put, client.post):
        answer = send("/api/story?graph=one.safetensors", headers=headers | OURS)
        assert answer.status_code == 403
        assert "another site" in answer.json()["error"] or "from a page of" in answer.json()["error"]


def test_a_change_without_our_header_is_refused(client: TestClient, folder: Path):
    before = (folder / "one.story.json").read_bytes()
    answer = client.put("/api/story?graph=one.safetensors", json={"format": "silverstain.story/1"})
    assert answer.status_code == 403
    assert (folder / "one.story.json").read_bytes() == before


def test_a_story_is_written_beside_its_graph_and_read_again(client: TestClient, folder: Path):
    story = Story(
        graph_hash=Graph.load(folder / "one.safetensors").hash,
        groups=(StoryGroup(label="new", members=("0_5_1",)),),
        view={"boxes": 4},
    )
    answer = client.put("/api/story?graph=one.safetensors", headers=OURS, content=json.dumps(story.to_json()))
    assert answer.json() == {"written": "one.story.json"}
    assert Story.load(folder / "one.story.json") == story
    assert client.get("/api/document?graph=one.safetensors").json()["story"]["view"] == {"boxes": 4}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "no JSON"),
        (b'{"format": "silverstain.story/1", "pins": 3}', "cannot read the story that the page sent: pins"),
        (b'{"format": "silverstain.story/1", "graph_hash": "other"}', "of another graph"),
        (b"[]", "cannot read the story that the page sent"),
    ],
)
def test_what_is_no_story_is_refused_and_the_story_stays(client: TestClient, folder: Path, body: bytes, said: str):
    before = (folder / "one.story.json").read_bytes()
    answer = client.put("/api/story?graph=one.safetensors", headers=OURS, content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert (folder / "one.story.json").read_bytes() == before


def test_a_story_of_a_file_outside_is_not_written(client: TestClient, folder: Path):
    answer = client.put("/api/story?graph=../secret.safetensors", headers=OURS, content=b"{}")
    assert answer.status_code == 404
    assert not (folder.parent / "secret.story.json").exists()


def test_a_port_that_is_taken_gives_way_to_the_next():
    with bound_socket(0) as first:
        first.listen()
        port = first.getsockname()[1]
        with bound_socket(port) as second:
            assert port < second.getsockname()[1] < port + 50
            assert second.getsockname()[0] == "127.0.0.1"


def test_where_no_port_is_free_the_error_says_so(monkeypatch: pytest.MonkeyPatch):
    def taken(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(socket.socket, "bind", taken)
    with pytest.raises(UsageError, match="no port from 8400 to 8449 is free; give another with --port"):
        bound_socket(8400)


STOPPED = """
import sys
from pathlib import Path
import torch
from silverstain.explorer import work
from silverstain.explorer.serving import serve

def endless(folder, live, asked, job):
    job.phase("working")
    while True:
        torch.zeros(1)

work.KINDS["trace"] = endless
serve(Path(sys.argv[1]), port=0, browser=False, on_start=lambda address: print(address, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_told_to_stop_cancels_its_work_tells_so_and_ends(tmp_path: Path, sent: signal.Signals):
    server = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        told: list[str] = []
        with httpx2.stream("POST", f"{address}api/work", json={"kind": "trace"}, headers=OURS, timeout=120) as answer:
            for line in answer.iter_lines():
                told.append(json.loads(line)["event"])
                if told[-1] == "phase":
                    server.send_signal(sent)
        assert told[-1] == "cancelled"
        out, err = server.communicate(timeout=120)
    finally:
        server.kill()
    assert "Traceback" not in err
    assert out == "stopped\n" or sent == signal.SIGTERM
    assert server.returncode in (0, -sent)


def test_where_others_can_reach_it_the_command_refuses_without_a_token(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SILVERSTAIN_TOKEN", raising=False)
    assert main(["explore", str(folder), "--host", "0.0.0.0", "--no-browser"]) == 2
    assert "set a token with --token or SILVERSTAIN_TOKEN" in capsys.readouterr().err


def test_an_address_that_this_machine_has_not_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    given = ["explore", str(folder), "--host", "192.0.2.1", "--token", "x" * 20, "--no-browser", "--port", "0"]
    assert main(given) == 2
    assert "192.0.2.1 is no address of this machine" in capsys.readouterr().err


def test_the_address_that_is_printed_has_the_token_in_it():
    assert address_of(8400, host="::", token="a b/c") == "http://[::]:8400/?token=a%20b%2Fc"
    assert address_of(8400, "one.json", token="t") == "http://127.0.0.1:8400/view?graph=one.json&token=t"


def test_the_address_of_a_graph_may_hold_any_name():
    assert address_of(8400, "a b&c#é.json") == "http://127.0.0.1:8400/view?graph=a%20b%26c%23%C3%A9.json"


def test_a_graph_file_opens_its_folder_with_it(folder: Path):
    assert checked_folder(folder / "one.safetensors") == (folder.resolve(), "one.safetensors")
    assert checked_folder(folder) == (folder.resolve(), "")
    with pytest.raises(UsageError, match=r"there is no graph and no folder at .*nothing"):
        checked_folder(folder / "nothing")


def test_the_newest_graph_is_listed_first_and_hidden_folders_are_not_looked_into(folder: Path):
    os.utime(folder / "one.safetensors", (1, 1))
    random_graph(2).save(folder / ".hidden" / "three.safetensors")
    assert [one.path for one in graphs_in(folder)] == ["deeper/two.json", "link.safetensors", "one.safetensors"] or [
        one.path for one in graphs_in(folder)
    ] == ["link.safetensors", "deeper/two.json", "one.safetensors"]


@pytest.mark.parametrize(("ending", "kept"), [("safetensors", "brought.safetensors"), ("json", "brought.json")])
def test_a_graph_file_that_is_brought_is_kept_under_a_free_name_and_opens(
    client: TestClient, folder: Path, tmp_path: Path, ending: str, kept: str
):
    source = tmp_path / f"source.{ending}"
    graph = random_graph(7)
    graph.save(source) if ending == "safetensors" else graph.to_json(source)
    for name in (kept, kept.replace(".", "-2.")):
        answer = client.post(f"/api/graph?name=brought.{ending}", content=source.read_bytes(), headers=OURS)
        assert (answer.status_code, answer.json()) == (200, {"graph": name})
        assert (folder / name).read_bytes() == source.read_bytes()
        assert client.get(f"/api/document?graph={name}").status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.safetensors", b"\x10\0\0\0\0\0\0\0{nothing", "a.safetensors"),
        ("a.json", b'{"a": 1}', "a.json"),
        ("a.pt", b"PK\3\4 a pickle", "a.pt is no graph"),
        ("empty.json", b"", "empty.json is no graph"),
        ("../../up.json", b"[]", "is no graph"),
    ],
)
def test_what_is_no_graph_is_not_kept(client: TestClient, folder: Path, name: str, body: bytes, said: str):
    before = sorted(folder.rglob("*"))
    answer = client.post("/api/graph", params={"name": name}, content=body, headers=OURS)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert str(folder) not in answer.json()["error"]
    assert sorted(folder.rglob("*")) == before


def test_a_name_that_leads_elsewhere_stays_in_the_folder(client: TestClient, folder: Path):
    body = (folder / "one.safetensors").read_bytes()
    for name, kept in {
        "../../up.safetensors": "up",
        "/etc/passwd": "passwd",
        "..": "graph",
        "C:\\x\\é.json": "graph",
    }.items():
        answer = client.post("/api/graph", params={"name": name}, content=body, headers=OURS)
        assert answer.status_code == 200
        assert answer.json()["graph"].startswith(kept)
        assert (folder / answer.json()["graph"]).is_file()
    assert client.post("/api/graph?name=a.json", content=body).status_code == 403


def test_a_graph_is_given_as_other_tools_read_it(client: TestClient, folder: Path, tmp_path: Path):
    answer = client.get("/api/json?graph=one.safetensors")
    assert 'filename="one.json"' in answer.headers["content-disposition"]
    assert answer.json()["metadata"]["slug"] == "one"
    file = tmp_path / "one.json"
    file.write_text(answer.text, encoding="utf-8")
    assert open_with_story(file)[0].meta["prompt"] == Graph.load(folder / "one.safetensors").meta["prompt"]
