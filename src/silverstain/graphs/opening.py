"""A graph out of a file of any kind that is known, told by its content and never by its name."""

from pathlib import Path

from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.json_files import read_json_graph
from silverstain.graphs.story import Story, story_beside
from silverstain.graphs.torch_files import read_torch_graph
from silverstain.parts import shown_path
from silverstain.storage import broken_file, check_is_file

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
BLANKS = b" \t\r\n\xef\xbb\xbf"  # a byte-order mark counts as one


def open_graph(path: str | Path) -> tuple[Graph, Story]:
    """The graph in our file, in a `.pt` of circuit-tracer or in JSON, with the story that the file itself tells.

    UsageError for a file that is missing, damaged, of another kind, or would run code. See `read_torch_graph` and
    `read_json_graph` for what those files do not say.
    """
    path = Path(path)
    check_is_file(path)
    start = _first_bytes(path)
    if is_own(start):
        graph = Graph.load(path)
    elif start.startswith((ZIP, PICKLE)):
        graph = read_torch_graph(path)
    elif start.lstrip(BLANKS).startswith(b"{"):
        return read_json_graph(path)
    else:
        raise UsageError(
            f"{shown_path(path)} is no graph that silverstain reads, or is damaged; give one of its own files "
            "(.safetensors), a .pt of circuit-tracer, or the JSON of circuit-tracer or Neuronpedia"
        )
    return graph, Story(graph_hash=graph.hash)


def open_with_story(graph_file: str | Path) -> tuple[Graph, Story]:
    """The graph in a file of any kind, and the story beside it; where there is none, what the file itself tells."""
    graph, told = open_graph(graph_file)
    beside = story_beside(Path(graph_file))
    return graph, Story.load(beside) if beside.exists() else told


def is_own_file(path: str | Path) -> bool:
    """Whether a file is of our own kind, which can be written in place; UsageError where it cannot be read."""
    path = Path(path)
    check_is_file(path)
    return is_own(_first_bytes(path))


def is_own(start: bytes) -> bool:
    """Whether a file starts as safetensors do: the length of the header in eight bytes, then the header. No text has
    the zero bytes of such a length."""
    return start[4:8] == bytes(4) and start[8:9] == b"{"


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise broken_file(path, error) from error
