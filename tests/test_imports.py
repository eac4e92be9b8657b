"""Imports point one way (design: the house)."""

import ast
from pathlib import Path

import pytest

import silverstain

SOURCE = Path(silverstain.__file__).parent
BASE = {"errors", "interruption", "storage"}  # what everything may use
FLOOR = {"graphs", "dictionaries", "models"}
MIDDLE = {"attribution"} | FLOOR
UPPER = {"interventions", "features", "training"} | MIDDLE
LOWER = {
    "errors": set(),
    "interruption": set(),
    "storage": {"errors"},
    "graphs": set(),
    "models": set(),
    "dictionaries": {"models"},  # whether a dictionary fits is a question about a model
    "attribution": FLOOR,
    "interventions": MIDDLE,
    "features": MIDDLE,
    "training": MIDDLE,
    "organism": UPPER,  # a generator: it grows models and dictionaries
    "studies": UPPER | {"organism", "replacement"},
    "replacement": UPPER | {"organism"},  # the front door: what `silverstain.load` gives
    "explorer": UPPER | {"studies", "replacement"},
    "__main__": {"cli"},
    "cli": UPPER | {"studies", "replacement", "organism", "explorer"},
}


def packages_imported(source: str, package: str) -> set[str]:
    """The packages of ours that `source`, a module of `package`, imports anywhere, inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("silverstain.")}
        elif isinstance(node, ast.ImportFrom) and node.level:  # inside its package: see reaches_out
            found.add(package)
        elif isinstance(node, ast.ImportFrom) and node.module == "silverstain":
            found |= {name.name for name in node.names if name.name != "__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("silverstain."):
            found.add((node.module or "").split(".")[1])
    return found


def reaches_out(module: Path, source: str) -> bool:
    """Whether a relative import leaves the package `module` is in."""
    return any(
        isinstance(node, ast.ImportFrom) and node.level >= len(module.parts) for node in ast.walk(ast.parse(source))
    )


def modules() -> list[Path]:
    return sorted(
        path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE
    )


def package_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


@pytest.mark.parametrize("module", modules(), ids=str)
def test_imports_point_down(module: Path):
    package = package_of(module)
    assert package in LOWER, f"{package} is new: say in LOWER what it may import"
    source = (SOURCE / module).read_text(encoding="utf-8")
    imported = packages_imported(source, package)
    upward = imported - LOWER[package] - BASE - {package}
    assert not upward, f"{module} imports {', '.join(sorted(upward))}, which {package} must not know"
    assert not reaches_out(module, source), f"{module} leaves its package by a relative import; name the package"


def test_the_table_has_no_cycle():
    """Nothing may be reached from itself, so no two packages may import each other by way of others."""
    for start in LOWER:
        reached, todo = set(), list(LOWER[start])
        while todo:
            package = todo.pop()
            if package not in reached:
                reached.add(package)
                todo += LOWER[package]
        assert start not in reached


@pytest.mark.parametrize(
    "source",
    [
        "import silverstain.cli.main",
        "from silverstain.cli import main",
        "from silverstain import cli",
        "def late():\n    from silverstain.cli.main import app",
    ],
)
def test_the_check_sees_an_upward_import(source: str):
    assert packages_imported(source, "graphs") == {"cli"}
    assert not packages_imported(source, "graphs") <= LOWER["graphs"] | BASE


def test_the_check_sees_a_relative_import_that_leaves_its_package():
    assert reaches_out(Path("graphs/graph.py"), "from ..cli import main")
    assert not reaches_out(Path("organism/families/words.py"), "from ..sentence import Sentence")
