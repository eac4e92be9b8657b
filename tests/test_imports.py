"""Imports point one way (design: the house)."""

import ast
from pathlib import Path

import pytest

import silverstain

SOURCE = Path(silverstain.__file__).parent
BASE = {
    "brief", "cache_faults", "child_processes", "displays", "documents", "errors", "fetching", "figure_files",
    "installed", "interruption", "known_models", "model_origin", "notation", "parts", "pieces", "pip_wheels",
    "printable", "references", "resuming", "sealing", "statistics", "storage", "target_forms", "torch_pickles",
    "validation", "version",
}  # fmt: skip
"""What everything may use."""
FLOOR = {"graphs", "models", "bases"}
READING = {"attribution"} | FLOOR
CHANGING = {"interventions", "features", "training"} | READING
TESTING = {"verification", "evaluation", "treatment"} | CHANGING
LOWER: dict[str, set[str]] = {
    "brief": set(),
    "cache_faults": set(),
    "child_processes": set(),
    "displays": set(),
    "errors": set(),
    "fetching": set(),
    "installed": set(),
    "interruption": set(),
    "known_models": set(),
    "model_origin": set(),
    "pip_wheels": set(),
    "notation": set(),
    "pieces": set(),
    "references": set(),
    "statistics": set(),
    "version": set(),
    "documents": set(),
    "figure_files": set(),
    "parts": set(),
    "printable": set(),
    "storage": set(),
    "torch_pickles": set(),
    "target_forms": set(),
    "sealing": set(),
    "validation": set(),
    "resuming": set(),
    "corpora": set(),
    "graphs": set(),
    "models": set(),
    "bases": {"models"},
    "attribution": FLOOR,
    "interventions": READING,
    "features": READING,
    "training": READING,
    "verification": CHANGING,
    "treatment": CHANGING,
    "evaluation": CHANGING | {"verification"},
    "organism": TESTING,  # a generator: it grows models and dictionaries
    "loading": TESTING | {"organism"},  # the front door: what `silverstain.load` gives
    "studies": TESTING | {"organism", "loading"},
    "explorer": TESTING | {"studies", "loading"},
    "cli": TESTING | {"studies", "loading", "organism", "explorer", "corpora"},
    "__main__": {"cli"},
}
"""What each package may import, itself and BASE apart. Within a package no two files may need each other."""
BASE_ORDER = (
    "brief", "child_processes", "displays", "errors", "fetching", "installed", "version", "interruption", "notation",
    "pieces", "statistics", "printable", "parts", "known_models", "cache_faults", "pip_wheels", "references",
    "target_forms", "storage", "sealing", "torch_pickles", "figure_files", "documents", "validation", "model_origin",
    "resuming",
)  # fmt: skip
"""Of these each may import those before it."""
FORMER = {
    "dictionaries.py",
    "interventions/treatment/__init__.py",
    "interventions/treatment/comparing.py",
    "interventions/verification.py",
    "replacement.py",
    "studies/faithfulness_report.py",
    "training/sweep.py",
    "training/watching.py",
}
"""Files that keep a former name alive for code outside of this repository. They point wherever the name has gone."""


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
    """Every file of ours but the front door and the former names."""
    found = {path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")} - {Path("__init__.py")}
    return sorted(found - {Path(name) for name in FORMER})


def package_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


@pytest.mark.parametrize("module", modules(), ids=str)
def test_imports_point_down(module: Path):
    package = package_of(module)
    assert package in LOWER, f"{package} is new: say in LOWER what it may import"
    source = (SOURCE / module).read_text(encoding="utf-8")
    imported = packages_imported(source, package)
    base = set(BASE_ORDER[: BASE_ORDER.index(package)]) if package in BASE else BASE
    upward = imported - LOWER[package] - base - {package}
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


def files_imported(source: str, module: Path) -> set[str]:
    """The files of ours that a file imports anywhere, inside functions and for type checkers included, as dotted names.

    A package that is imported stands for its `__init__`.
    """
    within = ("silverstain", *module.parent.parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = within[: len(within) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = {f"{base}.{name.name}" for name in node.names}
            found |= {base} | names
    return {name for name in found if name in DOTTED}


def dotted(module: Path) -> str:
    parts = module.with_suffix("").parts
    return ".".join(("silverstain", *(parts[:-1] if parts[-1] == "__init__" else parts)))


DOTTED = {dotted(path.relative_to(SOURCE)): path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")}
"""Every file of ours by the name it is imported by."""


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Sets of files each of which is reached from the others."""
    import networkx

    graph = networkx.DiGraph((one, other) for one, others in imports.items() for other in others if one != other)
    return [found for found in networkx.strongly_connected_components(graph) if len(found) > 1]


def test_no_two_files_need_each_other():
    imports = {
        name: files_imported((SOURCE / path).read_text(encoding="utf-8"), path)
        for name, path in DOTTED.items()
        if path.name != "__init__.py"  # a package's front: it imports its files, and its own files never need it
    }
    assert [sorted(found) for found in circles(imports)] == []


@pytest.mark.parametrize("name", sorted(FORMER))
def test_a_former_name_holds_nothing_but_what_it_passes_on(name: str):
    docstring, *imports = ast.parse((SOURCE / name).read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert imports
    for node in imports:
        assert isinstance(node, ast.ImportFrom), ast.unparse(node)
        assert all(each.asname for each in node.names), f"{ast.unparse(node)}: say `as`, so that it is public"


def test_nothing_of_ours_uses_a_former_name():
    former = {dotted(Path(name)) for name in FORMER}
    for name, path in DOTTED.items():
        imported = files_imported((SOURCE / path).read_text(encoding="utf-8"), path)
        assert not imported & former, f"{name} imports {', '.join(sorted(imported & former))}: name its new place"


def names_of_the_front(source: str, package: str) -> set[str]:
    """The names that a file takes from the front of a package, rather than from one of its modules."""
    return {
        name.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and not node.level and node.module == package
        for name in node.names
        if f"{package}.{name.name}" not in DOTTED
    }


def test_no_file_needs_the_front_of_its_own_package():
    """Else a package's front and its files would need each other."""
    for name, path in DOTTED.items():
        package = f"silverstain.{path.parts[0]}"
        if package in DOTTED and path.name != "__init__.py":
            source = (SOURCE / path).read_text(encoding="utf-8")
            assert not names_of_the_front(source, package), f"{name}: name the module, not the package"


def test_the_check_sees_a_circle_of_files():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from silverstain.graphs.graph import Graph"
    assert "silverstain.graphs.graph" in files_imported(source, Path("graphs/files.py"))


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
