"""`silverstain query`."""

from pathlib import Path

import pytest
from tests.cli.test_compare import asked, said

from silverstain.graphs import Graph


def test_a_folder_is_asked_in_sql(dallas: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dallas.save(tmp_path / "dallas.safetensors")
    report = asked(capsys, "query", str(tmp_path), "SELECT answer, file FROM graphs")
    assert report["rows"] == [{"answer": "austin", "file": "dallas.safetensors"}]
    code, out, err = said(capsys, "query", str(tmp_path))
    assert code == 0
    assert "austin" in out
    assert "steps that recur" in err
    (tmp_path / "bad.safetensors").write_bytes(b"xx")
    assert "left out bad.safetensors" in said(capsys, "query", str(tmp_path))[2]
    code, _, err = said(capsys, "query", str(tmp_path), "DROP TABLE nodes")
    assert code == 2
    assert "a query is one SELECT" in err
