"""`silverstain evaluate`: how faithful a dictionary is, beside replacements of MLPs that have no features."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.evaluation_report import EvaluationReport
from silverstain.cli.evaluation_table import tell_evaluation
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import (
    DictionaryArgument,
    Json,
    LoadingOptions,
    load_model_alone,
    load_replacement,
)
from silverstain.cli.text_options import TextOptions
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
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
@takes_option_values
def evaluate(
    *,
    dictionary: DictionaryArgument,
    reading: TextOptions,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of text to measure on.")] = 20_000,
    sentences: Annotated[int, typer.Option(min=2, help="Sentences a family of the organism.")] = 100,
    graphs: Annotated[int, typer.Option(min=0, help="Prompts to trace (a family, for the organism); 0 for none.")] = 10,
    edits: Annotated[
        int, typer.Option(min=0, help="Unseen edits under which an organism and its replacement are compared; 0: none.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Which sentences, edits and draws of the bootstrap.")] = 0,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Print what a dictionary reconstructs, what the replaced model says, and what its graphs explain."""
    from silverstain.evaluation import evaluate as evaluate_fidelity
    from silverstain.evaluation.remarks import remarks

    host, opened = _opened(loading, dictionary)
    # a share of 1 would leave training nothing, and is refused
    reading = replace(reading, held_out=min(reading.held_out, 1 - 2**-53))
    families, batches, prompts = _material(host, reading, tokens, sentences, graphs, seed)
    with output.progress("text", quiet=json) as bar:
        found = evaluate_fidelity(host, opened, batches, seed=seed, on_progress=bar)
    traced = traced_scores(host, opened, prompts, l0=found.fidelity.l0, seed=seed, quiet=json)
    causal = None if reading.text or not edits else _causal(host, opened, edits, seed, quiet=json)
    report = EvaluationReport(
        model=host.name, dictionary=opened, found=found, families=families, traced=traced, causal=causal,
        remarks=remarks(found.fidelity, d_model=host.d_model, d_vocab=host.d_vocab),
    )  # fmt: skip
    if json:
        output.emit(report.to_json())
    else:
        tell_evaluation(report)


def _opened(loading: LoadingOptions, dictionary: str) -> "tuple[LanguageModel, Dictionary | Molt]":
    """Model and dictionary, or the mixture of transforms that `train --kind molt` wrote, known by its files."""
    from silverstain.training.mixtures import FACTS, open_molt

    folder = Path(dictionary).expanduser()
    if not (folder / FACTS).exists():
        loaded = load_replacement(loading)
        return loaded.model, loaded.trained
    from silverstain.bases import check_made_for

    host = load_model_alone(loading)
    molt = open_molt(folder, dtype=host.dtype)
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


def traced_scores(
    host: "LanguageModel", dictionary: "Dictionary | Molt", prompts: Prompts, *, l0: float | None, seed: int = 0,
    quiet: bool,
) -> "GraphScores | None":  # fmt: skip
    """Scores of the prompts' graphs, as far as they can be traced with `l0` active features a token and layer; None for
    a mixture, of which no graph can be made."""
    from silverstain.bases import Dictionary
    from silverstain.evaluation.graph_scores import score_graphs, within_reach

    if not prompts or not isinstance(dictionary, Dictionary):
        return None
    prompts = within_reach(prompts, n_layers=host.n_layers, l0=l0 or 1.0)
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
