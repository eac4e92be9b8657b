"""`silverstain trace`: find the circuit that led from a prompt to its answer."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.graph_files import counts, scores_of, size_in_words, story_beside
from silverstain.cli.options import (
    CheckDictionary,
    Device,
    DictionaryName,
    DType,
    Json,
    Model,
    Threads,
    Width,
    load_replacement,
)
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.graphs import Graph, Story

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    no_args_is_help=True,
    epilog='Example: silverstain trace "the capital of the state containing dallas is" --out dallas.safetensors',
)
def trace(
    prompt: Annotated[str | None, typer.Argument(help="Text that the model is to continue.")] = None,
    token_ids: Annotated[
        str | None, typer.Option(help="Token ids instead of text, as 0,17,…; run as they are.", show_default=False)
    ] = None,
    model: Model = "organism",
    dictionary: DictionaryName = None,
    target: Annotated[
        list[str] | None, typer.Option(help="A token to explain; may be repeated. Default: the likeliest ones.")
    ] = None,
    at: Annotated[int, typer.Option(help="The token after which the answer is read; negative from the end.")] = -1,
    max_features: Annotated[
        int | None, typer.Option(min=0, help="Room for features; the rest goes to error nodes.", show_default=False)
    ] = None,
    bound: Annotated[
        float, typer.Option(min=0, max=1, help="Stop when this share of the influence or less is left unexplained.")
    ] = 0.0,
    prune: Annotated[bool, typer.Option(help="Also keep only what carries most of the influence.")] = True,
    out: Annotated[Path | None, typer.Option(help="Where to write the graph.", show_default=False)] = None,
    check_dictionary: CheckDictionary = True,
    threads: Threads = None,
    device: Device = "cpu",
    dtype: DType = "float32",
    width: Width = None,
    json: Json = False,
) -> None:
    """Find the circuit that led from a prompt to its answer."""
    request = _token_ids(token_ids) if token_ids is not None else prompt
    if request is None or (token_ids is not None and prompt is not None):
        raise UsageError('give either a prompt or --token-ids; for example: silverstain trace "12 + 34 ="')
    start = perf_counter()
    replacement = load_replacement(
        model, dictionary, check_dictionary=check_dictionary, threads=threads, device=device, dtype=dtype
    )
    loaded = perf_counter()
    with output.progress("tracing", quiet=json) as on_progress:
        graph = replacement.trace(
            request,
            targets=target or None,
            position=at,
            max_features=max_features,
            max_unexplained=bound,
            on_progress=on_progress,
        )
    traced = perf_counter()
    if prune:
        graph = graph.prune()
    seconds = {
        "load": loaded - start,
        "record": graph.meta["seconds"]["record"],
        "attribute": graph.meta["seconds"]["attribute"],
        "prune": perf_counter() - traced,
        "total": perf_counter() - start,
    }
    story = replacement.read(graph)
    if out is not None:
        graph.save(out)
        story.save(story_beside(out))
    if json:
        output.emit(summary(graph, out, seconds))
    else:
        _tell(graph, story, out, seconds, output.terminal_width(width))


def summary(graph: "Graph", out: Path | None, seconds: dict[str, float]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "graph": None if out is None else str(out),
        "hash": graph.hash,
        "prompt": graph.meta["prompt"],
        "tokens": graph.meta["tokens"],
        "targets": graph.meta["targets"],
        **counts(graph),
        "scores": scores_of(graph),
        "exactness": graph.meta["exactness"],
        "seconds": seconds,
        "unexplained_influence": graph.meta["unexplained_influence"],
        "model": graph.meta["model"],
        "dictionary": graph.meta["dictionary"],
    }


def _tell(graph: "Graph", story: "Story", out: Path | None, seconds: dict[str, float], width: int) -> None:
    from silverstain.cli.drawing import draw

    output.data(draw(graph, story, width=width, colour=output.has_colour()))
    output.data("")
    output.data(figures(graph))
    output.talk(f"\n{seconds['record'] + seconds['attribute']:.2f} s to trace, {seconds['load']:.1f} s to load")
    if out is None:
        output.talk("Nothing was written. To keep the graph, add --out FILE.safetensors")
    else:
        output.talk(f"Wrote {out}. Next: silverstain show {out}")


def figures(graph: "Graph") -> str:
    """The answer, the size, the scores and the exactness of a graph, for a person."""
    scores = scores_of(graph)
    answers = ", ".join(f"{t['token']} {output.percent(t['probability'])}" for t in graph.meta.get("targets", ()))
    rows = [
        ["answer", answers],
        ["graph", size_in_words(graph)],
        ["replacement", f"{scores['replacement']:.3f}  of the influence never passes an error"],
        ["completeness", f"{scores['completeness']:.3f}  of what enters the nodes is explained"],
        ["exactness", f"{graph.exactness():.1e}  largest error of any node's sum of edges, relative"],
    ]
    return output.table(rows)


def _token_ids(text: str) -> list[int]:
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise UsageError(f"--token-ids is {text!r}; give whole numbers with commas between them, as 0,17,4") from None
