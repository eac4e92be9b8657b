"""A graph out of a file of any kind that is known, told by its content and never by its name."""

from pathlib import Path

from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.json_files import read_json_graph
from silverstain.graphs.story import Story, story_beside
from silverstain.graphs.torch_files import read_torch_graph
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
    if start.startswith((ZIP, PICKLE)) and start[8:9] != b"{":
        graph = read_torch_graph(path)
    elif start.lstrip(BLANKS).startswith(b"{"):
        return read_json_graph(path)
    elif start[8:9] == b"{":  # safetensors: the length of the header in eight bytes, then the header
        graph = Graph.load(path)
    else:
        raise UsageError(
            f"{path} is no graph that silverstain reads; give one of its own files (.safetensors), a .pt of "
            "circuit-tracer, or the JSON of circuit-tracer or Neuronpedia"
        )
    return graph, Story(graph_hash=graph.hash)


def open_with_story(graph_file: str | Path) -> tuple[Graph, Story]:
    """The graph in our file and the story beside it, an empty one if there is none."""
    graph = Graph.load(graph_file)
    beside = story_beside(Path(graph_file))
    return graph, Story.load(beside) if beside.exists() else Story(graph_hash=graph.hash)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise broken_file(path, error) from error
