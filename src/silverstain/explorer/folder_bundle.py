"""The graphs of a folder as pages: a folder that any web server can give out, or nobody but a disk."""

from collections.abc import Callable
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.explorer.folder import document_of, graphs_in
from silverstain.explorer.listing import bundle_html
from silverstain.explorer.pages import page_html
from silverstain.printable import printable
from silverstain.storage import write_bytes_whole


def bundle_folder(
    folder: Path, only: str, destination: Path, on_page: Callable[[str], None] = lambda page: None
) -> int:
    """Write every graph of a folder, or the one it was opened with, as a page of its own, and `index.html` that lists
    them; gives how many. `on_page` is told of each. UsageError where there is nothing to write, or something there."""
    graphs = [one for one in graphs_in(folder) if not only or one.path == only]
    if not graphs:
        raise UsageError(
            f"there is no graph in {printable(str(folder), 200)}; write one first: silverstain trace PROMPT"
        )
    try:
        taken = destination.exists() and (not destination.is_dir() or any(destination.iterdir()))
        if not taken:
            destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write in {printable(str(destination), 200)}: {error.strerror or error}") from error
    if taken:
        raise UsageError(
            f"{printable(str(destination), 200)} is there already, and holds something; name another folder"
        )
    pages: list[str] = []
    for graph in graphs:
        page = free_name(graph.path, pages)
        write_bytes_whole(destination / page, page_html(document_of(folder / graph.path)).encode())
        pages.append(page)
        on_page(page)
    write_bytes_whole(destination / "index.html", bundle_html(graphs, pages).encode())
    return len(pages)


def free_name(path: str, taken: list[str]) -> str:
    """The name of a page: the path with dashes for slashes, told apart from those there are."""
    stem = path.rpartition(".")[0].replace("/", "-")
    k, name = 1, f"{stem}.html"
    while name in taken or name == "index.html":
        k += 1
        name = f"{stem}-{k}.html"
    return name
