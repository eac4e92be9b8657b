"""Packages that bring something by an entry point, as they lie when they are installed."""

from pathlib import Path


def installed_module(folder: Path, name: str, points: str) -> Path:
    """The folder of a module in a site-packages FOLDER, whose distribution has these entry points. Its import fails."""
    module = folder / name
    module.mkdir()
    (module / "__init__.py").write_text("raise AssertionError('it was imported')\n", encoding="utf-8")
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    said = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
    (about / "METADATA").write_text(said, encoding="utf-8")
    (about / "entry_points.txt").write_text(points, encoding="utf-8")
    return module
