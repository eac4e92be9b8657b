"""The start page of a folder: its graphs, the newest first."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from silverstain.explorer.folder import GraphFile
from silverstain.printable import printable

STYLE = """
:root{color-scheme:light dark;--page:#fbfaf7;--ink:#1b2430;--muted:#59636f;--rule:#e5e3dd;--card:#fff;--accent:#8a6410;
  --answer:#14733a}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--ink:#e8ebee;--muted:#a2acb7;--rule:#2a313b;--card:#171c23;
  --accent:#e3b44f;--answer:#64d08f}}
body{margin:0;font:15px/1.5 system-ui,-apple-system,'Segoe UI','Helvetica Neue','DejaVu Sans',Arial,sans-serif;
  color:var(--ink);background:var(--page)}
main{max-width:860px;margin:0 auto;padding:9vh 24px 60px}
.serif,h1{font-family:'Iowan Old Style',Charter,'Palatino Linotype',Georgia,'DejaVu Serif',serif}
h1{display:flex;align-items:center;gap:14px;font-size:30px;font-weight:600;margin:0 0 6px}
h1 i{width:20px;height:20px;border-radius:50%;background:radial-gradient(circle at 34% 30%,#fff3c9 0 8%,#e6b84c 42%,
  #8a6410)}
p{color:var(--muted);margin:0 0 30px}ul{list-style:none;margin:0;padding:0;display:grid;gap:10px}
a{display:grid;grid-template-columns:1fr auto;gap:2px 20px;padding:15px 20px;border:1px solid var(--rule);
  border-radius:12px;background:var(--card);color:inherit;text-decoration:none}
a:hover,a:focus-visible{border-color:var(--accent);outline:none;box-shadow:0 0 0 1px var(--accent)}
.prompt{font-size:18px;overflow-wrap:anywhere}.prompt b{color:var(--answer);font-weight:600}
.about{grid-column:1/-1;font-size:13px;color:var(--muted)}
code{font:14px ui-monospace,'DejaVu Sans Mono',monospace}
.none{padding:24px;border:1px dashed var(--rule);border-radius:12px}
"""


def listing_html(folder: Path, graphs: Sequence[GraphFile]) -> str:
    """The page."""
    n = len(graphs)
    said = f"{n} graph{'' if n == 1 else 's'} in {escape(printable(str(folder), 200))}"
    items = "\n".join(_item(one) for one in graphs) if graphs else _nothing()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Silverstain</title>\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style></head><body><main>\n<h1><i></i>Silverstain</h1>\n<p>{said}</p>\n<ul>\n{items}\n</ul>\n"
        "</main></body></html>\n"
    )


def _item(graph: GraphFile) -> str:
    prompt = escape(graph.prompt or graph.path)
    answer = f" → <b>{escape(graph.answer.strip())}</b>" if graph.answer.strip() else ""
    when = datetime.fromtimestamp(graph.modified).strftime("%Y-%m-%d %H:%M")
    size = f"{graph.size / 1e6:.1f} MB" if graph.size >= 1e5 else f"{max(graph.size // 1000, 1)} kB"
    about = f"{escape(printable(graph.path, 200))} · {when} · {size}"
    return (
        f'<li><a href="/view?graph={quote(graph.path, safe="")}"><span class="prompt serif">{prompt}{answer}</span>'
        f'<span class="about">{about}</span></a></li>'
    )


def _nothing() -> str:
    return (
        '<li class="none">There is no graph here yet. Make one: '
        "<code>silverstain trace &quot;the capital of the state containing dallas is&quot; "
        "--out dallas.safetensors</code>"
        ", and load this page again.</li>"
    )
