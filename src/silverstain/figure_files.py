"""Which files a figure can be: what is asked before a graph is read, and so without anything heavy."""

from importlib.util import find_spec
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.storage import check_writable

ENDINGS = (".svg", ".png", ".html", ".md")


def check_figure_file(path: str | Path) -> None:
    """UsageError unless the name ends as a figure's does, it can be written there, and what draws it is installed."""
    path = Path(path)
    if ending_of(path) not in ENDINGS:
        what = f"ends in {printable(path.suffix, 20)}" if path.suffix else "has no ending"
        raise UsageError(f"{printable(str(path), 120)} {what}; a figure is written as {', '.join(ENDINGS)}: name it so")
    if ending_of(path) == ".png":
        check_can_draw_png()
    check_writable(path)


def ending_of(path: str | Path) -> str:
    """In lower case."""
    return Path(path).suffix.lower()


def check_can_draw_png() -> None:
    """UsageError unless the package is there that turns a picture into pixels."""
    if find_spec("resvg_py") is None:
        raise UsageError(
            "a PNG needs the package resvg-py, which is not installed; "
            'install it (pip install "silverstain[figures]") or write .svg'
        )
