"""The page as one file: it opens from a disk, in a notebook or in a mail, and asks for nothing from anywhere."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

from silverstain.explorer.bundle import ENTRY, STATIC, WORKER, bundled
from silverstain.explorer.document import json_in_html, page_document
from silverstain.features.card_files import AnyCards
from silverstain.graphs.graph import Graph
from silverstain.graphs.story import Story

LARGEST_IN_NOTEBOOK = 200_000
"""Edges of a graph that a notebook shows as the whole page: each takes some ten bytes of the notebook's file."""
NOTEBOOK_HEIGHT = 760


def graph_html(graph: Graph, story: Story | None = None, cards: AnyCards | None = None, *, name: str = "") -> str:
    """The explorer with this graph, as one HTML file."""
    return page_html(page_document(graph, story, cards, name=name))


def page_html(document: Mapping[str, Any]) -> str:
    """The explorer with a document in it. Its policy lets only its own script run, and lets nothing be loaded."""
    script, worker = (bundled(entry).replace("</script", "<\\/script") for entry in (ENTRY, WORKER))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; worker-src blob:; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    title = escape(str(document.get("prompt") or "Silverstain"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        '<div id="page"><noscript>This page draws an attribution graph, for which it needs scripts.</noscript></div>\n'
        f'<script id="document" type="application/json">{json_in_html(document)}</script>\n'
        f'<script id="worker" type="text/plain">{worker}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def notebook_html(graph: Graph) -> str:
    """What a notebook shows for a graph: the page in a frame of its own, or of a very large graph its circuit."""
    if graph.n_edges > LARGEST_IN_NOTEBOOK:
        return graph.figure().svg() + "<p>This graph is too large for a notebook; open it: silverstain explore FILE</p>"
    source = escape(graph_html(graph), quote=True)
    style = f"width:100%;height:{NOTEBOOK_HEIGHT}px;border:1px solid #8884;border-radius:8px"
    sandbox = "allow-scripts allow-downloads"
    return f'<iframe title="Silverstain" sandbox="{sandbox}" style="{style}" srcdoc="{source}"></iframe>'
