"""A folder of graphs as a folder of pages."""

import json
from pathlib import Path

import pytest
from tests.graphs.conftest import random_graph

from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.explorer.folder_bundle import bundle_folder, free_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random_graph(1).save(tmp_path / "graphs" / "one.safetensors")
    random_graph(2).to_json(tmp_path / "graphs" / "deeper" / "two.json")
    return tmp_path / "graphs"


def test_every_graph_is_a_page_and_the_list_leads_to_each(folder: Path, tmp_path: Path, capsys):
    assert main(["explore", str(folder), "--bundle", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"written": str(tmp_path / "out" / "index.html"), "graphs": 2}
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"index.html", "one.html", "deeper-two.html"}
    listed = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert 'href="one.html"' in listed
    assert 'href="deeper-two.html"' in listed
    assert "<script" not in listed
    assert "/static/" not in listed
    assert '<script id="document"' in (tmp_path / "out" / "one.html").read_text(encoding="utf-8")


def test_of_a_graph_that_is_named_only_that_one_is_written(folder: Path, tmp_path: Path):
    assert bundle_folder(folder, "one.safetensors", tmp_path / "out") == 1
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"index.html", "one.html"}


def test_a_folder_that_holds_something_is_left_as_it_is(folder: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"out is there already, and holds something; name another folder"):
        bundle_folder(folder, "", tmp_path / "out")
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_says_what_to_do_and_nothing_is_made(tmp_path: Path):
    with pytest.raises(UsageError, match=r"there is no graph in .*; write one first: silverstain trace PROMPT"):
        bundle_folder(tmp_path, "", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_pages_are_told_apart():
    assert free_name("a/b.json", []) == "a-b.html"
    assert free_name("a-b.safetensors", ["a-b.html"]) == "a-b-2.html"
    assert free_name("index.json", []) == "index-2.html"
