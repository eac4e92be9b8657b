"""`silverstain circuit`."""

from pathlib import Path

import pytest
from tests.cli.test_compare import asked, said
from tests.verification.contrast.test_circuits import PROMPTS

import silverstain


def test_a_circuit_is_found_and_stands_beside_others_of_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "dallas.safetensors"
    silverstain.load("organism").trace(PROMPTS[0]).save(file)
    report = asked(capsys, "circuit", str(file), "--against", PROMPTS[1])
    assert 0 < len(report["groups"]) <= 10
    assert report["necessity"] > report["random"]["necessity"]
    assert {"direct", "writers_alone", "sufficiency", "seconds"} <= set(report)
    code, _, err = said(capsys, "circuit", str(file))
    assert code == 2
    assert "give --against a prompt of as many tokens" in err
