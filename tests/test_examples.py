"""Every example runs as it stands."""

import runpy
from pathlib import Path

import pytest
from tests.test_docs import needs_organism

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@needs_organism
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
