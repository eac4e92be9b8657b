"""`silverstain evaluate`: how faithful a dictionary is, in every measure, beside what needs no features."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.evaluation_table import tell_evaluation
from silverstain.cli.options import (
    CheckDictionary,
    Device,
    DType,
    Field,
    Json,
    Model,
    Text,
    Threads,
    load_model_alone,
    load_replacement,
)
from silverstain.cli.text_options import TextOptions
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
    from silverstain.evaluation import Evaluation
    from silverstain.evaluation.graph_scores import GraphScores
    from silverstain.models import LanguageModel, TokenBatch
    from silverstain.studies import Faithfulness
    from silverstain.training.mixtures import Molt

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Prompts = list[tuple[str, Any]]


@app.command(
    no_args_is_help=True,
    epilog="Example: silverstain evaluate cross-layer --model organism --graphs 2",
)
def evaluate(
    dictionary: Annotated[str, typer.Argument(help="A folder or hub id; cross-layer or per-layer for the organism.")],
    model: Model = "organism",
    text: Text = None,
    field: Field = "text",
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of text to measure on.")] = 20_000,
    context: Annotated[int, typer.Option(min=2, help="Tokens a sequence of text is cut to.")] = 128,
    held_out: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of the text that training leaves out; 1 measures on all of it."),
    ] = 0.05,
    sentences: Annotated[int, typer.Option(min=2, help="Sentences a family of the organism.")] = 100,
    graphs: Annotated[int, typer.Option(min=0, help="Prompts to trace (a family, for the organism); 0 for none.")] = 10,
    edits: Annotated[
        int, typer.Option(min=0, help="Unseen edits under which an organism and its replacement are compared; 0: none.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Which sentences, edits and draws of the bootstrap.")] = 0,
    check_dictionary: CheckDictionary = True,
    threads: Threads = None,
    device: Device = "cpu",
    dtype: DType = "float32",
    json: Json = False,
) -> None:
    """Print what a dictionary reconstructs, what the replaced model says, and what its graphs explain."""
    from silverstain.evaluation import evaluate as evaluate_fidelity
    from silverstain.evaluation.remarks import remarks

    host, opened = _opened(model, dictionary, check_dictionary, threads, device, dtype)
    # training leaves the rest out: a share of 1 would leave it nothing, and is refused
    options = TextOptions(text=tuple(text or ()), field=field, context=context, held_out=min(held_out, 1 - 2**-53))
    families, batches, prompts = _material(host, options, tokens, sentences, graphs, seed)
    with output.progress("text", quiet=json) as bar:
        found = evaluate_fidelity(host, opened, batches, seed=seed, on_progress=bar)
    traced = _graphs(host, opened, prompts, seed, quiet=json)
    causal = None if text or not edits else _causal(host, opened, edits, seed, quiet=json)
    said = remarks(found.fidelity, d_model=host.d_model, d_vocab=host.d_vocab)
    if json:
        output.emit(_plain(host.name, opened, found, families, traced, causal, said))
    else:
        tell_evaluation(host.name, opened, found, families, traced, causal, said)


def _opened(
    model: str, dictionary: str, check_dictionary: bool, threads: int | None, device: str, dtype: str
) -> "tuple[LanguageModel, Dictionary | Molt]":
    """Model and dictionary; what `train --kind molt` wrote is no dictionary, and is known by its files."""
    from silverstain.training.mixtures import FACTS, open_molt

    folder = Path(dictionary).expanduser()
    if not (folder / FACTS).exists():
        loaded = load_replacement(
            model, dictionary, check_dictionary=check_dictionary, threads=threads, device=device, dtype=dtype
        )
        return loaded.model, loaded.dictionary
    import torch

    from silverstain.bases import check_made_for

    host = load_model_alone(model, threads=threads, device=device, dtype=dtype)
    molt = open_molt(folder, dtype=getattr(torch, dtype))
    check_made_for(molt, host)
    return host, molt


def _material(
    model: "LanguageModel", options: TextOptions, tokens: int, sentences: int, graphs: int, seed: int
) -> "tuple[list[str], list[TokenBatch], Prompts]":
    """Names of families, batches to measure on, and prompts to trace."""
    if options.text:
        from silverstain.evaluation.graph_scores import prompts_of

        batches = options.batches(model).held_out(tokens)
        return [], batches, prompts_of(batches, graphs)
    from silverstain.organism.corpus import evaluation_batches
    from silverstain.organism.prompts import graph_prompts
    from silverstain.organism.siblings import sibling_of

    sibling = sibling_of(model.name)
    if sibling is None:
        raise UsageError(f"evaluating a dictionary of {model.name} needs text; give --text FILE or a folder of files")
    families = sibling.families()
    prompts: Prompts = list(graph_prompts(families, n=graphs, seed=3 + seed))
    return list(families), evaluation_batches(families, n=sentences, seed=7 + seed), prompts


def _graphs(
    host: "LanguageModel", dictionary: "Dictionary | Molt", prompts: Prompts, seed: int, *, quiet: bool
) -> "GraphScores | None":
    """Scores of the prompts' graphs; None for a mixture, of which no graph can be made."""
    from silverstain.bases import Dictionary
    from silverstain.evaluation.graph_scores import score_graphs

    if not prompts or not isinstance(dictionary, Dictionary):
        return None
    with output.progress("graphs", quiet=quiet) as bar:
        return score_graphs(host, dictionary, prompts, seed=seed, on_progress=bar)


def _causal(
    host: "LanguageModel", dictionary: "Dictionary | Molt", n: int, seed: int, *, quiet: bool
) -> "Faithfulness | None":
    """Whether the dictionary has the organism's mechanism; None for a mixture, which has no features to edit."""
    from silverstain.bases import Dictionary
    from silverstain.loading import ReplacementModel
    from silverstain.organism.prompts import graph_prompts
    from silverstain.organism.siblings import sibling_of
    from silverstain.studies.faithfulness import faithfulness

    sibling = sibling_of(host.name)
    if sibling is None or not isinstance(dictionary, Dictionary):
        return None
    loaded = ReplacementModel(model=host, dictionary=dictionary)
    prompts = graph_prompts(sibling.families(), n=10, seed=5 + seed)
    with output.progress("questions", quiet=quiet) as bar:
        return faithfulness(loaded, prompts, n=n, seed=seed, on_progress=bar)


def _plain(
    model: str,
    dictionary: "Dictionary | Molt",
    found: "Evaluation",
    families: list[str],
    traced: "GraphScores | None",
    causal: "Faithfulness | None",
    said: list[str],
) -> dict[str, Any]:
    """Everything as JSON holds it: the figures on top, intervals and stand-ins beside them."""
    fidelity = found.fidelity
    named = {families[index] if families else str(index): share for index, share in fidelity.families.items()}
    return {
        "model": model,
        "dictionary": dictionary.name,
        "dictionary_hash": dictionary.hash,
        "n_sequences": found.n_sequences,
        **fidelity.to_json(),
        "nmse_ratio": fidelity.nmse_ratio,
        "explained_variance": fidelity.explained_variance,
        "families": named,
        "kl_layers": found.kl_layers,
        "top1_match_layers": found.top1_match_layers,
        "replacement": traced and traced.replacement,
        "completeness": traced and traced.completeness,
        "path_length": traced and traced.path_length,
        "graphs": traced and traced.to_json(),
        "faithfulness": causal and causal.to_json(),
        "intervals": {_named(name, families): ends for name, ends in found.intervals.items()},
        "intervals_layers": found.intervals_layers,
        "stand_ins": {name: asdict(stand_in) for name, stand_in in found.stand_ins.items()},
        "remarks": said,
    }


def _named(figure: str, families: list[str]) -> str:
    """`family 3` by the family's name."""
    kind, _, index = figure.partition(" ")
    return f"{kind} {families[int(index)]}" if index and families else figure
