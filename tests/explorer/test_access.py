"""Who is let in: this machine, or whoever gives the token."""

import re

import pytest
from starlette.testclient import TestClient
from tests.graphs.conftest import random_graph

from silverstain.errors import UsageError
from silverstain.explorer.access import HEADER, check_access
from silverstain.explorer.server import application

TOKEN = "a-token-of-24-characters"
OURS = {HEADER: "1"}


@pytest.fixture
def client(tmp_path) -> TestClient:
    random_graph(1).save(tmp_path / "one.safetensors")
    return TestClient(application(tmp_path, token=TOKEN), base_url="http://gpu-box:8400", follow_redirects=False)


@pytest.mark.parametrize(
    "path", ["/", "/view", "/api/document?graph=one.safetensors", "/api/graphs", "/static/start.js"]
)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"authorization": "Bearer a-token-of-24-characterz"},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": "silverstain-token=é"},
    ],
)
def test_without_the_token_nothing_is_given(client: TestClient, path: str, given: dict[str, str]):
    answer = client.get(path, headers={name.encode(): value.encode() for name, value in given.items()})
    assert answer.status_code == 401
    assert "wants its token" in answer.json()["error"]


def test_the_token_in_a_header_opens_all_of_it(client: TestClient):
    answer = client.get("/api/graphs", headers={"authorization": f"Bearer {TOKEN}"})
    assert [one["path"] for one in answer.json()] == ["one.safetensors"]


def test_the_token_in_the_address_becomes_a_cookie_that_no_script_reads_and_leaves_the_address(client: TestClient):
    answer = client.get(f"/view?graph=one.safetensors&token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/view?graph=one.safetensors"
    assert re.search("httponly", answer.headers["set-cookie"], re.IGNORECASE)
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert client.get("/view?graph=one.safetensors").status_code == 200


def test_with_the_token_a_page_of_another_site_is_refused_all_the_same(client: TestClient):
    headers = {"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"} | OURS
    answer = client.put("/api/story?graph=one.safetensors", headers=headers, content=b"{}")
    assert answer.status_code == 403
    assert "from a page of 'http://evil.example'" in answer.json()["error"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "gpu-box", "::"])
def test_where_others_can_reach_it_no_server_starts_without_a_token(host: str):
    with pytest.raises(UsageError, match="set a token with --token or SILVERSTAIN_TOKEN"):
        check_access(host, None)
    check_access(host, TOKEN)


@pytest.mark.parametrize("token", ["", "short", "a token with é in it and more", "a\nnewline-in-a-token"])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str):
    with pytest.raises(UsageError, match="a token has at least 16 characters of ASCII; make one"):
        check_access("127.0.0.1", token)
