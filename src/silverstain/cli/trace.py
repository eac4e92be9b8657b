"""`silverstain trace`: find the circuit that led from a prompt to its answer."""

import shlex
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.chat_options import ChatOptions
from silverstain.cli.contrasts import other_prompt
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import (
    Boxes,
    Json,
    LoadingOptions,
    Width,
    check_graph_suffix,
    existing,
    load_replacement,
)
from silverstain.cli.plans import tell_plan
from silverstain.cli.trace_options import TraceOptions
from silverstain.errors import UsageError
from silverstain.known_models import is_known
from silverstain.notation import feature_name
from silverstain.references import NEURONS, is_organism
from silverstain.storage import check_writable

if TYPE_CHECKING:
    from silverstain.attribution import TraceSettings
    from silverstain.graphs import Graph
    from silverstain.loading import ReplacementModel
    from silverstain.models import Prompt

SHOWN = 6
"""Always-on neurons that are named."""
app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    no_args_is_help=True,
    epilog='Example: silverstain trace "the capital of the state containing dallas is" --out dallas.safetensors',
)
@takes_option_values
def trace(
    *,
    prompt: Annotated[str | None, typer.Argument(help="Text that the model is to continue.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            callback=existing,
            help="A file of prompts (JSONL or Parquet) instead; --out is a folder then.",
            show_default=False,
        ),
    ] = None,
    token_ids: Annotated[
        str | None, typer.Option(help="Token ids instead of text, as 0,17,…; run as they are.", show_default=False)
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="A second prompt of as many tokens: why is it answered differently? Or auto, for the likely change of "
            "one token that moves the answer most.",
            show_default=False,
        ),
    ] = None,
    talk: ChatOptions,
    tracing: TraceOptions,
    prune: Annotated[bool, typer.Option(help="Also keep only what carries most of the influence.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the graph. An interrupted trace goes on from FILE.parts.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say how large the graph is and what it takes.")] = False,
    boxes: Boxes = 10,
    loading: LoadingOptions,
    width: Width = None,
    json: Json = False,
) -> None:
    """Find the circuit that led from a prompt to its answer."""
    if sum(given is not None for given in (prompt, prompts, token_ids)) != 1:
        raise UsageError(
            'give either a prompt or --token-ids, or a file with --prompts; for example: silverstain trace "12 + 34 ="'
        )
    if talk.chat and prompt is None:
        raise UsageError("--chat is for a prompt of text; give one, instead of --token-ids or --prompts")
    if prompts is not None and dry_run:
        raise UsageError("--dry-run is of one prompt; give one instead of --prompts")
    if contrast is not None and (prompts is not None or dry_run):
        raise UsageError("--contrast compares one prompt with another; leave --prompts and --dry-run out")
    if prompts is None and out is not None and not dry_run:
        check_writable(out)
    check_graph_suffix(None if prompts is not None else out)
    ids = None if token_ids is None else _token_ids(token_ids)
    settings = tracing.settings()
    start = perf_counter()
    replacement = load_replacement(loading)
    loaded = perf_counter()
    if prompts is not None:
        from silverstain.cli.trace_many import trace_file

        trace_file(replacement, prompts, out, settings, prune=prune, json=json)
        return
    talk.set_up(replacement.model)
    request = ids if prompt is None else talk.prompt(replacement.model, prompt)
    assert request is not None  # one of the three was given, as is checked above
    if dry_run:
        tell_plan(replacement.plan(request, settings), json=json)
        return
    parts = None if out is None else out.with_name(out.name + ".parts")
    kept = f"What was found is in {parts}; the same command goes on from there"
    if contrast is not None:
        graph = _contrast(replacement, request, contrast, talk, settings)
    else:
        with output.kept_after_interruption(parts, kept), output.progress("tracing", quiet=json) as on_progress:
            graph = replacement.trace(request, settings, resume=parts, on_progress=on_progress)
    traced = perf_counter()
    if ids is not None:
        replacement.model.check_beginning(ids)
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
        from silverstain.graphs import story_beside

        graph.save(out)
        story.save(story_beside(out))
    if json:
        output.emit(summary(graph, out, seconds))
    else:
        from silverstain.cli.drawing import draw

        width = output.terminal_width(width)
        output.data(draw(graph, story, width=width, colour=output.has_colour(), max_boxes=boxes))
        output.data("")
        output.data(figures(graph))
        _tell_rest(graph, out, seconds, loading)


def _contrast(
    replacement: "ReplacementModel", base: "Prompt", contrast: str, talk: ChatOptions, settings: "TraceSettings"
) -> "Graph":
    """The graph of why two prompts are answered differently."""
    other = other_prompt(replacement, base, contrast, settings.position)
    if isinstance(other, str):
        other = talk.prompt(replacement.model, other) if isinstance(base, str) or talk.chat else _token_ids(other)
    as_given = [prompt if isinstance(prompt, str) else [int(token) for token in prompt] for prompt in (base, other)]
    return replacement.contrast(as_given[0], as_given[1], settings)


def summary(graph: "Graph", out: Path | None, seconds: dict[str, float]) -> dict[str, Any]:
    """What `--json` prints."""
    from silverstain.graphs import counts_of

    return {
        "graph": None if out is None else str(out),
        "hash": graph.hash,
        "prompt": graph.meta["prompt"],
        "tokens": graph.meta["tokens"],
        "targets": graph.meta["targets"],
        **({"contrast": dict(graph.meta["contrast"])} if graph.meta.get("contrast") else {}),
        **counts_of(graph),
        "scores": graph.scores()._asdict(),
        "exactness": graph.meta["exactness"],
        "seconds": seconds,
        "unexplained_influence": graph.meta["unexplained_influence"],
        "model": graph.meta["model"],
        "dictionary": graph.meta["dictionary"],
    }


def _tell_rest(graph: "Graph", out: Path | None, seconds: dict[str, float], loading: LoadingOptions) -> None:
    output.talk(f"\n{seconds['record'] + seconds['attribute']:.2f} s to trace, {seconds['load']:.1f} s to load")
    if out is None:
        output.talk("Nothing was written. To keep the graph, add --out FILE.safetensors")
        return
    is_tested = all(target.get("kind") != "direction" for target in graph.meta.get("targets", ()))
    verb = "verify" if is_tested else "show"  # a direction's vector is not kept in the graph
    flags = {"--model": loading.model, "--dictionary": loading.dictionary}
    given = [word for flag, value in flags.items() if value is not None for word in (flag, value)]
    goes_by_name = is_organism(loading.model) or (is_known(loading.model) and loading.dictionary in (None, NEURONS))
    words = [str(out), *(given if is_tested and not goes_by_name else ())]  # a name is in the graph
    output.talk(f"Wrote {out}. Next: silverstain {verb} {shlex.join(words)}")


def figures(graph: "Graph") -> str:
    """The answer, the size, the scores and the exactness of a graph, for a person."""
    from silverstain.graphs.trust import NO_EDGES

    rows = [
        [
            "change" if graph.meta.get("contrast") else "answer",
            ", ".join(_in_words(target, graph) for target in graph.meta.get("targets", ())),
        ],
        ["graph", size_in_words(graph)],
        *(_score_rows(graph) if graph.n_edges else [["scores", NO_EDGES]]),
        ["exactness", _exactness(graph.exactness())],
        *_neuron_rows(graph),
    ]
    if (graph.meta.get("settings") or {}).get("norms", "frozen") != "frozen":
        rows.append(["norms", "linearised  scores do not compare with those of frozen ones"])
    return output.table(rows)


def _neuron_rows(graph: "Graph") -> list[list[str]]:
    """What is to be known of a graph of neurons: how they were chosen and read, and which are always on."""
    rule, share = (graph.meta.get("settings") or {}).get("neuron_rule"), graph.meta.get("share")
    rows = []
    if rule is not None and share is not None:
        rows.append(["neurons", f"{share:.3f}  of all that neurons contribute is from those with nodes; rule {rule}"])
    steady = [feature_name(layer, feature) for layer, feature in graph.meta.get("always_on") or ()]
    if steady:
        more = f" and {len(steady) - SHOWN} more" if len(steady) > SHOWN else ""
        rows.append(["always on", f"{', '.join(steady[:SHOWN])}{more}: about as strong whatever the prompt is"])
    return rows


def _score_rows(graph: "Graph") -> list[list[str]]:
    """The scores that are known, with what they are of."""
    from silverstain.graphs.scores import WHOLE

    scores, is_rest = graph.scores(), bool(graph.meta.get("rest"))
    of = "" if scores.of == WHOLE else "; in what the file kept, which says nothing of the whole graph"
    rows = [["replacement", f"{scores.replacement:.3f}  of the influence never passes an error{of}"]]
    if is_rest:
        rows = [["shown", f"{scores.replacement:.3f}  of the influence passes through nodes that are shown{of}"]]
    if scores.completeness == scores.completeness:
        rows.append(["completeness", f"{scores.completeness:.3f}  of what enters the nodes is explained{of}"])
    elif scores.completeness_all_rows == scores.completeness_all_rows:
        said = f"{scores.completeness_all_rows:.3f}  tokens and errors counted as explained, as the file states it"
        rows.append(["completeness", said])
    return rows


def size_in_words(graph: "Graph") -> str:
    """Nodes and edges, for a person."""
    counts, units = graph.nodes.count(), "units" if graph.meta.get("rest") else "features"
    attention = f"{counts['attention']} attention, " if "attention" in counts else ""
    text = f"{counts['feature']} {units}, {attention}{graph.n_nodes} nodes, {graph.n_edges} edges"
    if graph.node_mask is None or graph.edge_mask is None:
        return text
    return f"{text}; kept {int(graph.node_mask.sum())} nodes, {int(graph.edge_mask.sum())} edges"


def _exactness(error: float) -> str:
    if error != error:  # NaN: a file of another tool, without the values that sums could be held against
        return "not known; the graph was imported without the values of its nodes"
    return f"{error:.1e}  largest error of any node's sum of edges, relative"


def _in_words(target: dict[str, Any], graph: "Graph") -> str:
    """A target with what it came to: a token's probability, the value of anything else."""
    name = target.get("name", target.get("token"))
    if target.get("kind") == "difference":  # of tokens, which may begin with a blank
        name = " ".join(str(name).split())
    last = len(graph.meta.get("tokens", ())) - 1
    position = target.get("position", last)
    where = "" if position == last else f" @{position}"
    if target.get("kind") == "feature" and None not in (target.get("activation"), target.get("value")):
        activity = "active" if target["activation"] else "not active"
        return f"{name}{where.strip()} {target['value']:.2f}, {activity}"
    if target.get("probability") is not None:
        return f"{name}{where} {output.percent(target['probability'])}"
    if target.get("value") is None:  # other tools do not say it
        return f"{name}{where}"
    return f"{name}{where} {target['value']:+.2f}"


def _token_ids(text: str) -> list[int]:
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise UsageError(f"--token-ids is {text!r}; give whole numbers with commas between them, as 0,17,4") from None
