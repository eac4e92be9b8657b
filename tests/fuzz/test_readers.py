"""Every reader keeps the promise of docs/errors.md, whatever a file holds: one line, exit 2, at once, in bounds."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.conftest import tried
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_tensors
from tests.fuzz.forked import Lines, Outcome
from tests.fuzz.samples import FORMATS, READERS, Reader, json_of, read_signed, write_published, write_signed

SECONDS = 2.0
MEGABYTES = 500.0


def damage(draw: st.DrawFn, path: Path) -> str:
    """Damage one file, in a way that fits what it is; says how."""
    how = draw(st.sampled_from(["bytes", "content", "content"]))
    if how == "content" and path.suffix == ".json":
        path.write_text(draw(damaged_json(json_of(path))), encoding="utf-8", errors="backslashreplace")
    elif how == "content" and path.suffix == ".jsonl":
        rows = path.read_text().splitlines()
        at = draw(st.integers(0, len(rows) - 1))
        rows[at] = draw(damaged_json(json.loads(rows[at])))
        path.write_text("\n".join(rows) + "\n")
    elif how == "content" and path.suffix == ".yaml":
        import yaml

        path.write_text(draw(damaged_json(yaml.safe_load(path.read_text()))), errors="backslashreplace")
    elif how == "content" and path.suffix == ".safetensors":
        how = _damage_tensors(draw, path)
    else:
        path.write_bytes(draw(damaged_bytes(path.read_bytes())))
    return how


def _damage_tensors(draw: st.DrawFn, path: Path) -> str:
    tensors, header = read_signed(path)
    texts = [name for name, text in header.items() if text.startswith(("{", "["))]
    if texts and draw(st.booleans()):
        name = draw(st.sampled_from(texts))
        header[name] = draw(damaged_json(json.loads(header[name])))
        try:
            header[name].encode()
        except UnicodeEncodeError:
            header[name] = "{}"
        how = f"header {name}"
    else:
        tensors, how = draw(damaged_tensors(tensors)), "tensors"
    write_signed(path, tensors, header)
    return how


def seconds_of(outcome: Outcome, work: float) -> float:
    """What a line may take: one that does its work in spite of the damage, such as a row of text that is another text,
    as much as on whole files besides (training draws pictures, which takes seconds)."""
    return SECONDS + (work if outcome.code == 0 else 0.0)


def run_damaged(draw: st.DrawFn, reader: Reader, base: Path, lines: Lines, work: float = 0.0) -> tuple[str, Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Path(folder) / "s"
        shutil.copytree(base, sandbox)
        there = sorted({p for pattern in reader.files for p in sandbox.glob(pattern) if p.is_file()})
        path = draw(st.sampled_from(there))
        how = damage(draw, path)
        outcome = lines.run(reader.arguments, sandbox)
        keep(outcome, sandbox, path, reader, how, work)
        return f"{path.name} ({how})", outcome


def keep(outcome: Outcome, sandbox: Path, path: Path, reader: Reader, how: str, work: float) -> None:
    """Where SILVERSTAIN_FUZZ_KEEP names a folder: a copy of what broke a promise, to be looked at."""
    folder = os.environ.get("SILVERSTAIN_FUZZ_KEEP")
    fault = outcome.fault(seconds=seconds_of(outcome, work), megabytes=MEGABYTES)
    if folder and fault:
        kept = Path(tempfile.mkdtemp(dir=folder))
        shutil.copytree(sandbox, kept / "s")
        (kept / "what").write_text(f"{' '.join(reader.arguments)}\n{path.name} {how}\n{fault}\n{outcome.err[-2000:]}")


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"convert, published"}))
def test_a_damaged_file_is_one_line(name: str, base: Path, lines: Lines, tmp_path: Path):
    shutil.copytree(base, tmp_path / "s")
    work = lines.run(READERS[name].arguments, tmp_path / "s").cpu_seconds

    @tried
    @given(st.data())
    def check(data: st.DataObject) -> None:
        what, outcome = run_damaged(data.draw, READERS[name], base, lines, work)
        assert outcome.fault(seconds=seconds_of(outcome, work), megabytes=MEGABYTES) is None, what

    check()


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_dictionary_of_another_tool_is_one_line(name: str, tmp_path: Path, lines: Lines):
    write_published(tmp_path, name)

    @tried
    @given(st.data())
    def check(data: st.DataObject) -> None:
        what, outcome = run_damaged(data.draw, READERS["convert, published"], tmp_path, lines)
        assert outcome.fault(seconds=SECONDS, megabytes=MEGABYTES) is None, what

    check()


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"convert, published"}))
def test_the_same_line_does_its_work_on_the_whole_file(name: str, base: Path, lines: Lines, tmp_path: Path):
    shutil.copytree(base, tmp_path / "s")
    outcome = lines.run(READERS[name].arguments, tmp_path / "s")
    assert (outcome.code, outcome.fault(seconds=60, megabytes=2000)) == (0, None), outcome.err
