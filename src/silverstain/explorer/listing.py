"""The start page of a folder: a prompt to trace, examples, and the graphs that are there, the newest first."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from silverstain.explorer.bundle import STATIC
from silverstain.explorer.examples import Example
from silverstain.explorer.folder import GraphFile
from silverstain.explorer.live import Offer
from silverstain.explorer.study_files import StudyFile, studies_html
from silverstain.printable import printable
from silverstain.references import ORGANISM

SHOWN_TAGS = 24
FEW = 4
"""Whoever has as many graphs is shown these rather than the examples."""


def listing_html(
    folder: Path,
    graphs: Sequence[GraphFile],
    offers: Sequence[Offer] = (),
    examples: Sequence[Example] = (),
    studies: Sequence[StudyFile] = (),
) -> str:
    """The page."""
    parts = [
        '<h1><i aria-hidden="true"></i>Silverstain</h1>',
        '<p class="lead">Watch a language model come to its answer, and test what you see.</p>'
        '<ol class="how"><li><b>Choose</b> an example, or type a prompt</li>'
        "<li><b>Read</b> which parts of the model led to its answer, and what each stands for</li>"
        "<li><b>Test</b> it: switch a part off, and see what the model says then</li></ol>",
        _form(offers) if offers else "",
        _examples(examples, is_open=len(graphs) < FEW) if examples else "",
        _work(folder, graphs, has_studies=bool(studies)),
        studies_html(studies),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Silverstain</title>\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">\n'
        '<link rel="stylesheet" href="/static/home.css">'
        f"</head><body><main>\n{body}\n</main>"
        '<script type="module" src="/static/home.js"></script></body></html>\n'
    )


def bundle_html(graphs: Sequence[GraphFile], pages: Sequence[str]) -> str:
    """The list of a folder of pages that were written: one file without a script."""
    style = (STATIC / "home.css").read_text(encoding="utf-8")
    items = "\n".join(_item(one, page) for one, page in zip(graphs, pages, strict=True))
    n = len(graphs)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Silverstain</title>\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">\n'
        f'<style>\n{style}</style></head><body><main><h1><i aria-hidden="true"></i>Silverstain</h1>\n'
        '<p class="lead">Answers of language models, taken apart. Choose one: read how the model came to it, and what '
        'was changed in the model to test that.</p>\n<section aria-labelledby="work"><div class="head">'
        f'<h2 id="work">{n} graph{"" if n == 1 else "s"}</h2></div>\n'
        f'<ul id="graphs">\n{items}\n</ul></section></main></body></html>\n'
    )


def _form(offers: Sequence[Offer]) -> str:
    choices = "".join(
        f'<option value="{escape(one.name)}">{escape(one.name)}: {escape(one.about)}</option>' for one in offers
    )
    return (
        '<form id="ask" class="ask" aria-label="trace a prompt">'
        '<label for="prompt">Type the beginning of a sentence. The model says how it goes on, and why.</label>'
        '<textarea id="prompt" name="prompt" class="serif" rows="1" spellcheck="false" autocomplete="off" '
        'placeholder="the capital of the state containing dallas is"></textarea>'
        '<div id="second" hidden><label for="other">The same sentence with another word: why is it answered '
        "differently?</label>"
        '<textarea id="other" name="other" class="serif" rows="1" spellcheck="false" autocomplete="off" '
        'placeholder="the capital of the state containing oakland is"></textarea></div>'
        f'<div class="row"><label class="model">Model <select name="model">{choices}</select></label>'
        '<button type="button" id="compare" class="quiet" aria-expanded="false">Compare with a second prompt</button>'
        '<button class="primary">Trace</button></div></form>\n'
        '<div id="status" class="status" role="status" hidden><progress id="bar" aria-label="progress"></progress>'
        '<span id="phase"></span><button type="button" id="cancel" class="quiet">Cancel</button></div>'
    )


def _examples(examples: Sequence[Example], *, is_open: bool) -> str:
    items = "".join(_example(one, is_first=k == 0) for k, one in enumerate(examples))
    return (
        f'<details class="begin"{" open" if is_open else ""}><summary><h2>Begin with an example</h2></summary>'
        f'<ul class="examples">{items}</ul></details>'
    )


def _example(one: Example, *, is_first: bool) -> str:
    hint = '<em class="tag">start here</em>' if is_first else ""
    other = f'<span class="serif">{escape(one.other)} …</span>' if one.other else ""
    return (
        f'<li><button type="button" data-example="{escape(one.name)}"{" class=first" if is_first else ""}>'
        f'<b>{escape(one.title)}{hint}</b><span class="serif">{escape(one.prompt)} …</span>{other}'
        f"<small>{escape(one.about)}</small><small>{escape(_spoken(one.model))}</small></button></li>"
    )


def _spoken(model: str) -> str:
    """A model as a newcomer reads it."""
    return f"{model}, our small model of a known world" if model == ORGANISM else f"{model}, a real language model"


def _work(folder: Path, graphs: Sequence[GraphFile], *, has_studies: bool) -> str:
    n = len(graphs)
    said = f"{n} graph{'' if n == 1 else 's'} in {escape(printable(str(folder), 200))}"
    items = "\n".join(_item(one) for one in graphs) if graphs else _nothing()
    tags = sorted({tag for one in graphs for tag in one.tags})[:SHOWN_TAGS]
    chips = "".join(
        f'<button type="button" data-tag="{escape(tag)}" aria-pressed="false">{escape(tag)}</button>' for tag in tags
    )
    search = (
        '<input id="filter" type="search" placeholder="Search prompts, answers, tags" aria-label="search your work">'
        if graphs or has_studies
        else ""
    )
    return (
        f'<section aria-labelledby="work"><div class="head"><h2 id="work">Your graphs</h2>'
        f'<span class="about">{said}</span>'
        f'<span id="found" class="about" role="status"></span>{search}'
        '<button type="button" id="bring" class="quiet">Open a file …</button>'
        '<input id="file" type="file" accept=".safetensors,.json,application/json" hidden></div>'
        '<p id="brought" class="about" role="status" hidden></p>'
        + (f'<div id="tags" class="tags" role="group" aria-label="tags">{chips}</div>' if chips else "")
        + f'<ul id="graphs">\n{items}\n</ul></section>'
    )


def _item(graph: GraphFile, page: str | None = None) -> str:
    """One graph, as a link to its view or to a page that was written."""
    prompt = escape(graph.prompt or graph.path)
    answer = f" → <b>{escape(graph.answer.strip())}</b>" if graph.answer.strip() else ""
    when = datetime.fromtimestamp(graph.modified).strftime("%Y-%m-%d %H:%M")
    size = f"{graph.size / 1e6:.1f} MB" if graph.size >= 1e5 else f"{max(graph.size // 1000, 1)} kB"
    about = " · ".join(
        escape(part) for part in (printable(graph.path, 200), graph.model, when, size, graph.work) if part
    )
    tags = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in graph.tags)
    text = " ".join((graph.prompt, graph.other, graph.answer, graph.path, graph.model, *graph.tags)).lower()
    other = f'<span class="prompt serif">{escape(graph.other)}</span>' if graph.other else ""
    address = f"/view?graph={quote(graph.path, safe='')}" if page is None else quote(page)
    return (
        f'<li data-text="{escape(text)}" data-tags="{escape(chr(10).join(graph.tags))}">'
        f'<a href="{address}">{other}<span class="prompt serif">{prompt}{answer}</span>'
        f'<span class="about">{about}{tags}</span></a></li>'
    )


def _nothing() -> str:
    return (
        '<li class="none">There is no graph here yet. Trace a prompt above, or in a terminal: '
        "<code>silverstain trace &quot;the capital of the state containing dallas is&quot; "
        "--out dallas.safetensors</code>. Or drop a file here: a graph of ours, or the JSON of circuit-tracer or "
        "Neuronpedia.</li>"
    )
