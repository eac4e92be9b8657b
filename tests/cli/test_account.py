"""`silverstain account` and `paths`."""

from pathlib import Path

import pytest
from tests.cli.test_compare import asked, said

from silverstain.graphs import Graph, Story, story_beside


@pytest.fixture
def file(dallas: Graph, reading: Story, tmp_path: Path) -> str:
    path = tmp_path / "dallas.safetensors"
    dallas.save(path)
    reading.save(story_beside(path))
    return str(path)


def test_a_graph_is_told_on_the_terminal_and_in_files(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = asked(capsys, "account", file)
    assert report["sentences"][0]["numbers"]["probability"] == pytest.approx(0.97)
    code, out, _ = said(capsys, "account", file)
    assert code == 0
    assert "texas" in out
    for name in ("a.md", "a.html", "a.txt"):
        assert said(capsys, "account", file, "--out", str(tmp_path / name))[0] == 0
        assert "texas" in (tmp_path / name).read_text(encoding="utf-8")
    code, _, err = said(capsys, "account", file, "--out", "a.pdf")
    assert code == 2
    assert "written as .md, .html or .txt" in err


def test_paths_are_printed_with_their_products(file: str, capsys: pytest.CaptureFixture[str]):
    report = asked(capsys, "paths", file, "dal", "austin")
    products = [abs(one["product"]) for one in report["paths"]]
    assert products == sorted(products, reverse=True)
    assert sum(products) <= report["total"] + 1e-9
    code, out, _ = said(capsys, "paths", file, "dal", "austin")
    assert code == 0
    assert " → " in out
    assert said(capsys, "paths", file, "nowhere", "austin")[0] == 2
