"""Benchmarks and examples keep up with the packages: they import, and what they take from us is there."""

import ast
import runpy
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted([*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").rglob("*.py")])
PEERS = {"circuit_tracer", "clt", "dictionary_learning", "sae_lens", "sparsify"}
"""Packages of others, which benchmarks find in environments of their own."""
every_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))


def names_taken(source: str) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that is taken from our packages, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "silverstain":
            yield from ((str(node.module), name.name) for name in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "silverstain":
            yield "silverstain", node.attr


@every_script
def test_what_a_script_takes_from_us_is_there(path: Path):
    missing = [
        f"{module}.{name}"
        for module, name in names_taken(path.read_text(encoding="utf-8"))
        if not hasattr(import_module(module), name)
    ]
    assert not missing


@every_script
def test_a_script_is_imported_without_being_run(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "argv", [str(path), "--no-such-option"])  # would end a script that runs
    try:
        runpy.run_path(str(path), run_name="imported")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in PEERS:
            raise
        pytest.skip(f"it needs {error.name}, which lives in an environment of its own")
    finally:
        for name, module in list(sys.modules.items()):  # every folder has a `case` of its own
            if Path(getattr(module, "__file__", None) or "").is_relative_to(ROOT / "benchmarks"):
                del sys.modules[name]


def test_the_check_sees_a_name_that_is_gone():
    source = "import silverstain\ndef late():\n    from silverstain.graphs import Graph\n    silverstain.gone()"
    assert list(names_taken(source)) == [("silverstain.graphs", "Graph"), ("silverstain", "gone")]
    assert not hasattr(import_module("silverstain"), "gone")
