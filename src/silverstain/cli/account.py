"""`silverstain account`: a graph told in plain sentences, each with its figures."""

from pathlib import Path
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import GraphFile, Json
from silverstain.errors import UsageError
from silverstain.parts import shown_path

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(no_args_is_help=True, epilog="Example: silverstain account dallas.safetensors")
def account(
    graph: GraphFile,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it to a file: .md, .html or .txt.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Tell a graph in plain sentences: what feeds what, how much of the answer it carries, what is not explained.

    Groups are those of the story beside the graph (GRAPH.story.json), else those of `silverstain group`.
    """
    if out is not None and out.suffix.lower() not in (".md", ".html", ".txt"):
        raise UsageError(f"an account is written as .md, .html or .txt, and {shown_path(out)} is neither; rename it")
    from silverstain.cli.group import check_story
    from silverstain.graphs import account_of, open_with_story, story_beside
    from silverstain.storage import write_text_whole

    traced, story = open_with_story(graph)
    check_story(traced, story, story_beside(graph))
    told = account_of(traced, story)
    if out is not None:
        kind = out.suffix.lower()
        page = f'<!doctype html><meta charset="utf-8"><title>account</title>{told.html()}'
        write_text_whole(out, {".md": told.markdown(), ".html": page}.get(kind, f"{told}\n"))
        output.talk(f"Wrote {shown_path(out)}")
    if json:
        output.emit({"graph": str(graph), **told.to_json()})
    elif out is None:
        output.data(str(told))
