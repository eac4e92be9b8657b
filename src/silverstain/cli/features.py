"""`silverstain features`: describe the features of a dictionary, or a model's neurons, over text, and look them up."""

import sys
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.feature_texts import rows_to_describe
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import Json, LoadingOptions, existing, load_replacement
from silverstain.cli.text_options import TextOptions
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.storage import check_writable

if TYPE_CHECKING:
    from silverstain.features.card_table import CardTable
    from silverstain.features.streaming import StreamPlan

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Describe features over text, as a file of cards, and look them up: by number, by words, in SQL.",
)


def existing_cards(path: Path) -> Path:
    """UsageError unless there is such a file, or a package that brought cards of this name."""
    from silverstain.features.card_files import named_cards

    existing(named_cards(path))
    return path


CardsFile = Annotated[
    Path,
    typer.Argument(
        callback=existing_cards, help="A file of `silverstain features build`, or the name of cards that are installed."
    ),
]
MANY = 200_000
"""Tokens to read where nothing is said."""


@app.command(no_args_is_help=True, epilog="Example: silverstain features build --model organism --out cards.parquet")
@takes_option_values
def build(
    *,
    reading: TextOptions,
    out: Annotated[
        Path | None,
        typer.Option(help="The file of cards to write, Parquet.", show_default="cards/ in the cache, by the basis"),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Places of the text to look at.")] = MANY,
    lens: Annotated[
        Path | None,
        typer.Option(callback=existing, help="A file of `silverstain lens build`.", show_default=False),
    ] = None,
    labels: Annotated[bool, typer.Option("--labels/--no-labels", help="Name features by rules, and test them.")] = True,
    concepts: Annotated[
        Path | None,
        typer.Option(
            callback=existing,
            help="A table of prompts with columns (CSV or JSONL, the prompts under `prompt`), to name features by.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help="Also ask a language model for labels, at this OpenAI-compatible address.", show_default=False
        ),
    ] = None,
    explain_model: Annotated[str, typer.Option("--explain-model", help="Which model is asked there.")] = "default",
    explain_most: Annotated[
        int, typer.Option("--explain-most", min=1, help="Features it is asked about, those of most energy.")
    ] = 100,
    compact: Annotated[
        bool, typer.Option("--compact", help="Few examples, no neighbours: about 0.5 kB a card.")
    ] = False,
    examples: Annotated[
        bool, typer.Option("--examples/--no-examples", help="Without examples no passage of the text is kept.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the text.")] = 0,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Read text once and write a card for every feature that was active: examples, figures, tokens, labels.

    Stopped by Ctrl-C or killed, the same line goes on from the last few minutes' save, to the same file.
    """
    from silverstain.features.assembling import COMPACT, CardSettings, assemble
    from silverstain.features.card_table import CardTable
    from silverstain.features.lens import Lens
    from silverstain.features.naming import label_cards
    from silverstain.features.streaming import discard_state, stream, stream_plan

    if out is not None:
        check_writable(out)
    found = None if lens is None else Lens.load(lens)
    explainer = None
    if explain is not None:
        from silverstain.features.explainer import Explainer

        explainer = Explainer(explain, explain_model, most=explain_most)
    loaded = load_replacement(loading)
    model, basis = loaded.model, loaded.dictionary
    if found is not None:
        found.check_fits(model)
    plan = stream_plan(basis, tokens)
    if dry_run:
        _tell_plan(plan, json=json)
        return
    if out is None:
        from silverstain.features.card_files import kept_cards
        from silverstain.known_models import cards_folder

        out = kept_cards(basis.hash, cards_folder())
        check_writable(out)
    state = out.with_name(out.name + ".unfinished")
    rows, about = rows_to_describe(model, reading, tokens=tokens, seed=seed)
    if not json:
        output.talk(
            f"{plan.features:,} {'neurons' if plan.is_signed else 'features'} over {tokens:,} places of "
            f"{about['text']}, {output.size(plan.bytes)} of memory beside the model"
            + (f"; going on from {shown_path(state)}" if state.exists() else "")
        )
    start = perf_counter()
    with ExitStack() as stack:
        bar = stack.enter_context(output.progress("places", quiet=json))
        stack.enter_context(
            output.kept_after_interruption(state, f"What was found is in {shown_path(state)}: the same line goes on.")
        )
        seen = stream(
            model, basis, rows, n_tokens=tokens, state=state, identity=repr(sorted(about.items())),
            on_progress=lambda n: bar(n, tokens),
        )  # fmt: skip
    read = perf_counter() - start
    settings = COMPACT if compact else CardSettings()
    with output.progress("layers", quiet=json) as bar:
        cards: CardTable = assemble(seen, model, basis, lens=found, settings=settings, meta=about, on_progress=bar)
    if labels:
        with output.progress("labels", quiet=json) as bar:
            cards = label_cards(cards, seen, model, basis, explainer=explainer, on_progress=bar)
    if concepts is not None:
        from silverstain.features.concepts import label_by_concepts, read_concepts

        cards = label_by_concepts(cards, model, basis, read_concepts(concepts))
    cards = cards if examples else cards.without_examples()
    cards.save(out)
    discard_state(state)
    report = {
        "cards": str(out), "features": plan.features, "described": len(cards),
        "never_active": cards.meta["never_active"], "places": seen.text.n_places, "bytes": out.stat().st_size,
        "labelled": sum(label is not None for label in cards.table["label"].to_pylist()),
        "seconds": {"read": read, "total": perf_counter() - start},
        "tokens_per_second": seen.text.n_places / max(read, 1e-9), "state_bytes": plan.state_bytes,
    }  # fmt: skip
    if json:
        output.emit(report)
        return
    if seen.text.n_places < tokens:
        output.talk(f"The text has only {seen.text.n_places:,} places; more of it would describe rare features better.")
    output.talk(
        f"{len(cards):,} cards ({report['labelled']:,} with a label; {report['never_active']:,} features were never "
        f"active), {output.size(report['bytes'])}, {output.duration(report['seconds']['total'])}: {shown_path(out)}"
    )
    output.talk(f"Next: silverstain features search {shown_path(out)} WORD")


@app.command()
def show(
    cards: CardsFile,
    feature: Annotated[str, typer.Argument(help="L3.F1501, or L3.F1501=0.7 for the percentile of an activation.")],
    examples: Annotated[int, typer.Option(min=0, help="Examples of each kind to print.")] = 5,
    json: Json = False,
) -> None:
    """Print one card: figures, labels, tokens, examples, neighbours."""
    from silverstain.cli.feature_card import card_text

    layer, number, value = _feature_of(feature)
    table = _opened(cards)
    row = table.row(layer, number)
    if row is None:
        if json:
            output.emit({"layer": layer, "feature": number, "never_active": True, "places": table.meta.get("places")})
        else:
            output.data(f"L{layer}.F{number} was never active in {table.meta.get('places', 0):,} places.")
        return
    percentile = None if value is None else table.percentile(layer, number, value)
    if json:
        output.emit({**row, "value": value, "percentile": percentile})
    else:
        output.data(card_text(row, n_examples=examples, value=value, percentile=percentile))


@app.command()
def search(
    cards: CardsFile,
    text: Annotated[str, typer.Argument(help="Words of a label, or a token that features promote.")],
    limit: Annotated[int, typer.Option(min=1, help="Cards to list.")] = 20,
    json: Json = False,
) -> None:
    """List the features whose label has some words in it, the surest first."""
    found = _opened(cards).search(text, limit=limit)
    if json:
        output.emit({"cards": [card.to_json() for card in found]})
        return
    if not found:
        output.talk(f"no label has {printable(text, 80)!r} in it, and no feature promotes it as a token")
        return
    rows = [["feature", "label", "precision", "recall", "density", "promotes"]]
    rows += [
        [
            f"L{card.layer}.F{card.feature}", card.label, f"{card.precision:.2f}", f"{card.recall:.2f}",
            f"{100 * card.density:.3g} %", " ".join(token.strip() for token, _ in card.promotes[:4]),
        ]
        for card in found
    ]  # fmt: skip
    output.data(output.table(rows, right=(2, 3, 4)))


@app.command(
    epilog='Example: silverstain features query cards.parquet "SELECT layer, count(*) FROM cards GROUP BY layer"'
)
def query(
    cards: CardsFile,
    sql: Annotated[str, typer.Argument(help="One SELECT over the table cards; DESCRIBE cards lists its columns.")],
    limit: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 100,
    json: Json = False,
) -> None:
    """Ask the cards in SQL, through DuckDB: read-only, with nothing but this file in reach."""
    from silverstain.features.queries import query_cards

    answer = query_cards(_opened(cards), sql, limit=limit)
    if json:
        output.emit(answer.to_json())
        return
    rows = [list(answer.columns), *([_cell(value) for value in row] for row in answer.rows)]
    output.data(output.table(rows))
    if answer.is_cut:
        output.talk(f"There are more than {limit} rows; --limit N shows more.")


@app.command("label")
def label_features(
    cards: CardsFile,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            callback=existing,
            help="JSONL: layer, feature, text, and perhaps kind, score.",
            show_default=False,
        ),
    ] = None,
    neuronpedia: Annotated[
        str | None,
        typer.Option(help="MODEL/SOURCE, as gemma-2-2b/gemmascope-16k: ask Neuronpedia.", show_default=False),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Features that Neuronpedia is asked about, of most energy.")] = 500,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write.", show_default="the same file; of installed cards, the cache"),
    ] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out features that have no card, instead of refusing.")
    ] = False,
    json: Json = False,
) -> None:
    """Put labels of yours, or of another tool, in front of those that cards have."""
    from silverstain.features.label_files import read_labels

    table, unknown = _opened(cards), 0
    if (labels is None) == (neuronpedia is None):
        raise UsageError("give either --labels FILE or --neuronpedia MODEL/SOURCE")
    if labels is not None:
        from silverstain.features.label_files import read_labels

        given, unknown = read_labels(labels, table, skip_unknown=skip_unknown)
    else:
        from silverstain.features.neuronpedia import neuronpedia_labels
        from silverstain.known_models import cards_folder

        model, _, source = str(neuronpedia).partition("/")
        features = table.most_active(most)
        with output.progress("features", quiet=json) as bar:
            given = neuronpedia_labels(
                features, model=model, source=source, cache=cards_folder(), on_progress=lambda n: bar(n, len(features))
            )
    if out is None:
        from silverstain.features.card_files import kept_cards
        from silverstain.known_models import cards_folder

        out = cards if cards.exists() else kept_cards(str(table.meta["dictionary_hash"]), cards_folder())
    table.with_labels(given).save(out)
    if json:
        output.emit({"cards": str(out), "labelled": len(given), "unknown": unknown})
    else:
        left = f"; {unknown} features have no card and were left out" if unknown else ""
        output.talk(f"{len(given):,} features have labels of {labels or neuronpedia}{left}.")


@app.command()
def export(
    cards: CardsFile,
    to: Annotated[str, typer.Option("--to", help="circuit-tracer or neuronpedia.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    json: Json = False,
) -> None:
    """Write cards as circuit-tracer's packed features, or as Neuronpedia's JSON, a file a feature."""
    from silverstain.features.packed import write_packed
    from silverstain.features.published import write_neuronpedia

    writers = {"circuit-tracer": write_packed, "neuronpedia": write_neuronpedia}
    if to not in writers:
        raise UsageError(f"--to is {printable(to, 80)!r}; give {' or '.join(writers)}")
    n = writers[to](_opened(cards), out)
    if json:
        output.emit({"folder": str(out), "features": n})
    else:
        output.talk(f"{n:,} features are in {shown_path(out)}.")


@app.command("import")
def import_packed(
    folder: Annotated[Path, typer.Argument(help="A folder with index.json.gz and layer_N.bin.")],
    out: Annotated[Path, typer.Option(help="The file of cards to write.")],
    json: Json = False,
) -> None:
    """Read circuit-tracer's packed features as cards: what they have of them."""
    from silverstain.features.packed import read_packed

    check_writable(out)
    table = read_packed(folder)
    table.save(out)
    if json:
        output.emit({"cards": str(out), "features": len(table)})
    else:
        output.talk(f"{len(table):,} cards are in {shown_path(out)}.")


def _opened(path: Path) -> "CardTable":
    from silverstain.features.card_files import named_cards
    from silverstain.features.card_table import CardTable

    return CardTable.load(named_cards(path))


def _feature_of(word: str) -> tuple[int, int, float | None]:
    """Layer, number and perhaps an activation of L3.F1501=0.7."""
    import re

    found = re.fullmatch(r"L(\d{1,6})\.F(\d{1,9})(?:=(.+))?", word.strip())
    if found is None:
        raise UsageError(f"{printable(word, 80)!r} names no feature; write it as L3.F1501, or L3.F1501=0.7")
    try:
        value = None if found[3] is None else float(found[3])
    except ValueError:
        raise UsageError(f"{printable(found[3], 80)!r} is no activation; write a number, as in L3.F1501=0.7") from None
    return int(found[1]), int(found[2]), value


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _tell_plan(plan: "StreamPlan", *, json: bool) -> None:
    if json:
        output.emit(plan.to_json())
        return
    rows = [
        ["features", f"{plan.features:,}{', of two signs' if plan.is_signed else ''}"],
        ["text", f"{plan.tokens:,} places"],
        ["memory", f"{output.size(plan.bytes)} beside the model: {output.size(plan.state_bytes)} of arrays and a copy"],
        ["disk", f"{output.size(plan.state_bytes + plan.text_bytes)} until it is done, to go on from"],
    ]
    output.data(output.table(rows))
    output.talk("\nNothing was read. --tokens N reads less.")
    sys.stdout.flush()
