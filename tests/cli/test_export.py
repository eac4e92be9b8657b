"""`silverstain export` and `explore`: files that others open, and a server that starts and ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.graphs.conftest import random_graph

from silverstain.cli import main
from silverstain.cli.main import MISTAKE
from silverstain.graphs import open_graph


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    file = tmp_path / "one.safetensors"
    random_graph(1).save(file)
    return file


STARTS = {"html": "<!doctype html>", "svg": "<svg", "csv": "id,kind,layer", "md": "# a b c", "json": "{"}


@pytest.mark.parametrize("form", STARTS)
def test_a_graph_is_written_in_the_form_asked_for(graph: Path, form: str, capsys: pytest.CaptureFixture[str]):
    assert main(["export", str(graph), "--to", form, "--json"]) == 0
    written = graph.with_suffix(f".{form}")
    assert json.loads(capsys.readouterr().out) == {
        "graph": str(graph), "written": str(written), "format": form, "bytes": written.stat().st_size,
    }  # fmt: skip
    assert written.read_text(encoding="utf-8").startswith(STARTS[form])


def test_the_json_of_an_export_is_read_again(graph: Path):
    assert main(["export", str(graph), "--to", "json"]) == 0
    assert open_graph(graph.with_suffix(".json"))[0].meta["prompt"] == "a b c"


def test_the_graph_itself_is_not_written_over(graph: Path, capsys: pytest.CaptureFixture[str]):
    before = graph.read_bytes()
    assert main(["export", str(graph), "--to", "json", "--out", str(graph)]) == MISTAKE
    assert "one.safetensors is the graph itself; name another file with --out" in capsys.readouterr().err
    assert graph.read_bytes() == before


@pytest.mark.parametrize("words", [["explore"], []], ids=["explore", "a file alone"])
def test_a_graph_is_served_until_the_server_is_interrupted(graph: Path, words: list[str]):
    command = [sys.executable, "-m", "silverstain", *words, str(graph), "--no-browser", "--port", "0", "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert server.stdout is not None
        said = "".join(iter(server.stdout.readline, "}\n")) + "}"
        told = json.loads(said)
        assert told["graph"] == "one.safetensors"
        assert told["address"].startswith("http://127.0.0.1:")
        with urlopen(told["address"], timeout=30) as page:
            assert b"/static/start.js" in page.read()
        server.send_signal(signal.SIGINT)
        _, talk = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0
    assert talk.splitlines()[-1] == "Stopped."


def test_what_is_no_graph_and_no_folder_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "nothing.safetensors"), "--no-browser"]) == MISTAKE
    assert "there is no graph and no folder at" in capsys.readouterr().err
