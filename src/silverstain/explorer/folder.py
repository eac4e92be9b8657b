"""The graphs of a folder: which there are, and one of them opened, never anything outside of it."""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError
from silverstain.explorer.document import page_document
from silverstain.graphs import Story, is_own_file, open_with_story, story_beside
from silverstain.graphs.files import FORMAT
from silverstain.printable import printable

MOST_FILES = 20_000
"""Files and folders that are looked at for graphs."""
MOST_GRAPHS = 500
LARGEST_HEADER = 4 << 20
LARGEST_STORY_LISTED = 4 << 20
MOST_TAGS = 12
ENDINGS = (".safetensors", ".json")


class NotInFolder(UsageError):
    """A path that leads out of the folder, or to nothing in it."""


@dataclass(frozen=True, kw_only=True)
class GraphFile:
    """A graph that a start page lists."""

    path: str
    """Within the folder, with slashes."""
    prompt: str
    answer: str
    modified: float
    """Seconds since 1970."""
    size: int
    model: str = ""
    other: str = ""
    """Of a contrast, the prompt that it is held against."""
    tags: tuple[str, ...] = ()
    """That the story beside it gives it."""
    work: str = ""
    """What a person has added, in words."""


def inside(folder: Path, relative: str) -> Path:
    """The file that a path names within a folder, links followed; NotInFolder for one outside, or none."""
    try:
        path = (folder / relative).resolve()
        found = path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        found = False
    if not found:
        raise NotInFolder(f"there is no file {printable(relative, 120)!r} in the folder that is open")
    return path


def graphs_in(folder: Path) -> list[GraphFile]:
    """The graphs in a folder and those below it, the newest first."""
    found = []
    for path in files_in(folder):
        listed = _listed(folder, path)
        if listed is not None:
            found.append(listed)
        if len(found) >= MOST_GRAPHS:
            break
    return sorted(found, key=lambda one: -one.modified)


def document_of(path: Path) -> dict[str, Any]:
    """The page's document of a graph file of any kind, with the story beside it."""
    from silverstain.loading import cards_of  # takes a second, for which the start page need not wait

    graph, story = open_with_story(path)
    return page_document(graph, story, cards_of(graph), name=path.name)


def compared(left: Path, right: Path) -> dict[str, Any]:
    """How far two graphs agree, in the figures that the page shows beside its own."""
    from silverstain.graphs.comparison import compare

    found = compare(open_with_story(left)[0], open_with_story(right)[0])
    return {
        "nodes": {kind: overlap._asdict() for kind, overlap in found.nodes.items()},
        "edges": asdict(found.edges["all"]) | {"count": found.edges["all"].count._asdict()},
        "activations": asdict(found.activations),
    }


def keep_story(path: Path, written: Any) -> Path:
    """Write what the page sends as the story beside a graph file; UsageError if it is none, or of another graph."""
    story = Story.from_json(written, "the story that the page sent")
    beside = story_beside(path)
    graph, _ = open_with_story(path)
    if story.graph_hash != graph.hash:
        raise UsageError("the story that the page sent is of another graph than the file now holds; open it again")
    story.save(beside)
    return beside


def free_path(folder: Path, name: str, ending: str = ".safetensors") -> Path:
    """A path that is not taken, by a graph or by a story: with -2, -3, … behind the name where it is."""
    k = 1
    while True:
        path = folder / (f"{name}{ending}" if k == 1 else f"{name}-{k}{ending}")
        if not path.exists() and not path.with_suffix(".story.json").exists():
            return path
        k += 1


def files_in(folder: Path) -> Iterator[Path]:
    """The files that may be graphs or reports of studies, none that is hidden."""
    n = 0
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            n += 1
            if n > MOST_FILES:
                return
            if name.endswith(ENDINGS) and not name.startswith(".") and not name.endswith(".story.json"):
                yield Path(where) / name


def _listed(folder: Path, path: Path) -> GraphFile | None:
    try:
        stat = path.stat()
        told = _own_meta(path) if path.suffix == ".safetensors" else _foreign_meta(path)
    except (
        OSError,
        ValueError,
        UsageError,
        AttributeError,
        TypeError,
        KeyError,
        IndexError,
        struct.error,
    ):  # unreadable, damaged: opening it will say so
        return None
    if told is None:
        return None
    prompt, answer, model, other = (printable(text, 300) for text in told)
    relative = path.relative_to(folder).as_posix()
    tags, work = _story_of(path)
    return GraphFile(
        path=relative, prompt=prompt, answer=answer, modified=stat.st_mtime, size=stat.st_size, model=model,
        other=other, tags=tags, work=work,
    )  # fmt: skip


def _story_of(path: Path) -> tuple[tuple[str, ...], str]:
    """The tags of the story beside a graph, and how much is in it; nothing for one that is damaged or very large."""
    beside = story_beside(path)
    try:
        if not beside.is_file() or beside.stat().st_size > LARGEST_STORY_LISTED:
            return (), ""
        story = Story.load(beside)
    except (OSError, UsageError):
        return (), ""
    tags = story.view.get("tags")
    said = [printable(one, 40) for one in tags if isinstance(one, str)] if isinstance(tags, list) else []
    counts = ((len(story.groups), "group"), (len(story.pins), "pin"), (len(story.evidence), "experiment"))
    work = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for n, name in counts if n)
    return tuple(dict.fromkeys(one for one in said if one))[:MOST_TAGS], work


def _own_meta(path: Path) -> tuple[str, str, str, str] | None:
    """Prompt, answer, model and a contrast's base, out of the header alone; None for any other safetensors."""
    if not is_own_file(path):
        return None
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LARGEST_HEADER:
            return None
        header = json.loads(file.read(length)).get("__metadata__") or {}
    if header.get("format") != FORMAT:
        return None
    meta = json.loads(header.get("meta") or "{}")
    targets = meta.get("targets") or [{}]
    contrast, model = meta.get("contrast") or {}, meta.get("model") or {}
    answers = contrast.get("answers") or []
    answer = answers[1] if len(answers) == 2 else targets[0].get("name") or targets[0].get("token") or ""
    return str(meta.get("prompt") or ""), str(answer), str(model.get("name") or ""), str(contrast.get("prompt") or "")


def _foreign_meta(path: Path) -> tuple[str, str, str, str] | None:
    """Of a graph of circuit-tracer or Neuronpedia, told by its first bytes; None for any other JSON."""
    with path.open("rb") as file:
        start = file.read(4096)
    if b'"metadata"' not in start and b'"qParams"' not in start:
        return None
    text = start.decode("utf-8", "replace")
    at = text.find('"prompt"')
    if at < 0:
        return "", "", "", ""
    try:
        prompt, _ = json.JSONDecoder().raw_decode(text[text.index(":", at) + 1 :].lstrip())
    except ValueError:
        prompt = ""
    return str(prompt), "", "", ""


def checked_folder(path: Path) -> tuple[Path, str]:
    """The folder to open and the graph in it to show first, "" for the list; UsageError where there is neither."""
    if path.is_dir():
        return path.resolve(), ""
    if path.is_file():
        return path.resolve().parent, path.resolve().name
    raise UsageError(
        f"there is no graph and no folder at {printable(str(path), 200)}; write one first: silverstain trace PROMPT"
    )
