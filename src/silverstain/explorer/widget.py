"""A graph as a widget of a notebook: what is selected there is read and set here. Needs the extra `widget`.

from silverstain.explorer.widget import graph_widget

shown = graph_widget(graph)       # the last value of a cell
shown.nodes                       # ids of the nodes that are selected in the page
shown.selection = ["3_1501_9"]    # selects a node there
shown.kept_story().save("mine.story.json")
"""

import json
from functools import cache
from importlib import import_module
from typing import Any

from silverstain.errors import UsageError
from silverstain.explorer.bundle import module_source
from silverstain.explorer.document import page_document
from silverstain.explorer.pages import NOTEBOOK_HEIGHT, page_html
from silverstain.features.card_files import AnyCards
from silverstain.graphs.graph import Graph
from silverstain.graphs.story import Story


def graph_widget(
    graph: Graph, story: Story | None = None, cards: AnyCards | None = None, *, height: int = NOTEBOOK_HEIGHT
) -> Any:
    """The page of a graph as a widget, `height` pixels high.

    Its traits: `selection`, the keys of what is selected (ids of nodes, `g:LABEL` of groups, `w:POSITION` of words), to
    be read and set; `nodes`, the ids of the nodes in it; `story`, what a person has made of the graph, as JSON
    (`kept_story()` as a `Story`). UsageError where anywidget is not installed.
    """
    document = page_document(graph, story, cards) | {"in_widget": True}
    kept = json.loads(json.dumps(document["story"]))  # as the page sends it: lists rather than tuples
    return _widget_class()(page=page_html(document), height=height, story=kept)


@cache
def _widget_class() -> type:
    try:
        anywidget, traitlets = (import_module(name) for name in ("anywidget", "traitlets"))
    except ImportError as error:
        raise UsageError(
            "a widget needs anywidget, which is not installed: pip install 'silverstain[widget]'"
        ) from error

    class GraphWidget(anywidget.AnyWidget):
        """The page in a frame."""

        _esm = module_source("widget")
        page = traitlets.Unicode().tag(sync=True)
        height = traitlets.Int().tag(sync=True)
        selection = traitlets.List(traitlets.Unicode()).tag(sync=True)
        nodes = traitlets.List(traitlets.Unicode()).tag(sync=True)
        story = traitlets.Dict().tag(sync=True)

        def kept_story(self) -> Story:
            """What a person has made of the graph; UsageError where the page sent something else."""
            return Story.from_json(self.story, "the story that the page sent")

    return GraphWidget
