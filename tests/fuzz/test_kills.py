"""A command that is killed at any of its file operations: the same line ends as if nothing had happened.

Each line is killed as its first file operation begins, as its second begins, and so on; then it is run again in the
same folder. What it wrote must be what an undisturbed run writes, and nothing else may be left.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fuzz.conftest import EXAMPLES
from tests.fuzz.forked import Lines
from tests.fuzz.samples import ON, TRAIN, read_signed

P = "0,5,9,13"
LINES: dict[str, list[str]] = {
    "trace": ["trace", "--token-ids", P, *ON, "--out", "o.safetensors"],
    "trace, many": ["trace", "--prompts", "prompts.jsonl", "--out", "many", *ON],
    "prune in place": ["prune", "graph.safetensors", "--node-share", "0.5"],
    "import": ["import", "graph.json", "--out", "o.safetensors"],
    "convert": ["convert", "dict", "o"],
    "convert over another": ["convert", "dict", "older", "--force"],
    "verify": ["verify", "graph.safetensors", *ON, "--sources", "2", "--claims", "4", "--controls", "2"],
    "treat make": ["treat", "make", "--edit", "scale:L1.F3=0.5", "--when", "L0.F7", "--out", "o.json", *ON],
    "treat bake": ["treat", "bake", "bakeable.json", *ON, "--out", "o"],
    "show --out": ["show", "graph.safetensors", "--out", "o.svg"],
    "train": TRAIN.split(),
    "organism grow": ["organism", "grow", "--sibling", "untrained", "--what", "models", "--out", "o"],
}
TIMES = ("seconds", "time", "date", "written", "per_second", "matrix_share")
"""Keys of JSON whose values are another each run."""


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not any(word in k for word in TIMES)}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def content(path: Path) -> str:
    """What a file says, times apart."""
    if path.suffix == ".safetensors":
        tensors, header = read_signed(path)
        kept = {
            key: without_times(json.loads(text)) if text.startswith("{") else text
            for key, text in header.items()
            if key != "checksum"
        }
        arrays = {name: t.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes() for name, t in tensors.items()}
        hashes = {name: hashlib.sha256(array).hexdigest() for name, array in arrays.items()}
        return json.dumps([kept, hashes], sort_keys=True)
    if path.suffix in (".json", ".jsonl"):
        rows = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
        return json.dumps([without_times(json.loads(row)) for row in rows], sort_keys=True)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_of(path: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with what it says; pictures by their presence."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): "" if p.suffix in (".png", ".lock") else content(p) for p in files}


def prepared(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    shutil.copytree(base / "dict", folder / "older")
    return folder


def moments(n: int) -> range:
    """At which file operations a line is killed: all of them, or a few spread over them."""
    return range(1, n + 1, 1 if EXAMPLES >= 50 else max(1, n // 3))


@pytest.mark.parametrize("name", LINES)
def test_a_killed_command_ends_as_if_nothing_had_happened(name: str, base: Path, lines: Lines, tmp_path: Path):
    arguments = LINES[name]
    whole = prepared(base, tmp_path / "whole")
    undisturbed = lines.run(arguments, whole, kill_at=0)
    assert undisturbed.code == 0, undisturbed.err
    expected = folder_of(whole)
    faults = []
    for moment in moments(undisturbed.n_events):
        folder = prepared(base, tmp_path / f"killed-{moment}")
        killed = lines.run(arguments, folder, kill_at=moment)
        had_ended = killed.code == 0 and killed.n_events < moment  # saves by the clock are fewer where it is quicker
        assert had_ended or killed.code == -9
        again = lines.run(arguments, folder)
        fault = difference(expected, folder_of(folder)) if again.code == 0 else f"exit {again.code}: {again.err[-300:]}"
        if fault:
            faults.append(f"killed at operation {moment} of {undisturbed.n_events}: {fault}")
        shutil.rmtree(folder)
    assert not faults, "\n".join(faults)


def difference(expected: dict[str, str], found: dict[str, str]) -> str:
    missing, more = expected.keys() - found.keys(), found.keys() - expected.keys()
    changed = [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
    said = {"missing": missing, "left behind": more, "other than it should be": changed}
    return "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in said.items() if names)
