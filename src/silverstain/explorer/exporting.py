"""A graph file as a file of another kind."""

import json
from collections.abc import Callable
from pathlib import Path

from silverstain.explorer.folder import document_of
from silverstain.explorer.pages import page_html
from silverstain.graphs import graph_json, open_with_story, write_graph_json
from silverstain.graphs.csv_files import nodes_csv
from silverstain.graphs.export import slug_of
from silverstain.storage import write_bytes_whole


def exported_json(graph_file: Path) -> str:
    """What circuit-tracer and Neuronpedia read, of a graph file and the story beside it."""
    graph, story = open_with_story(graph_file)
    return json.dumps(
        graph_json(graph, slug=slug_of(graph_file.stem), story=story), ensure_ascii=False, allow_nan=False
    )


def export_graph(graph_file: Path, destination: Path, form: str, *, boxes: int = 10) -> None:
    """Write a graph as html (the explorer as one page), svg, png or md (its circuit), json (what circuit-tracer and
    Neuronpedia read) or csv (its nodes), with the story beside it; whole or not at all."""
    if form == "html":
        write_bytes_whole(destination, page_html(document_of(graph_file)).encode())
        return
    graph, story = open_with_story(graph_file)
    if form == "json":
        write_graph_json(graph, destination, story=story)
        return
    makers: dict[str, Callable[[], bytes]] = {
        "svg": lambda: graph.figure(story, boxes=boxes).svg().encode(),
        "png": lambda: graph.figure(story, boxes=boxes).png(),
        "md": lambda: graph.figure(story, boxes=boxes).markdown().encode(),
        "csv": lambda: nodes_csv(graph, story).encode(),
    }
    write_bytes_whole(destination, makers[form]())
