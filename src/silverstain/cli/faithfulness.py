"""`silverstain faithfulness`: does a replacement model behave as the model does when both are changed alike?"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.faithfulness_table import tell_faithfulness
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import DictionaryArgument, Json, LoadingOptions, load_replacement
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.models import LanguageModel
    from silverstain.models.prompts import Prompt

app = typer.Typer(rich_markup_mode=None, add_completion=False)

NO_TOWNS = (
    "hop-skips are left out: they are questions about the towns of the organism's world, which this model is not asked"
)


@app.command(
    no_args_is_help=True,
    epilog="Example: silverstain faithfulness cross-layer --n-prompts 10 --edits 20",
)
@takes_option_values
def faithfulness(
    *,
    dictionary: DictionaryArgument,
    prompts: Annotated[
        Path | None,
        typer.Option(help="A file of prompts (JSONL or Parquet).", show_default="the organism's own sentences"),
    ] = None,
    n_prompts: Annotated[int, typer.Option(min=2, help="Prompts that are traced.")] = 30,
    changes: Annotated[int, typer.Option(min=1, help="Changes of each kind after each MLP of a traced prompt.")] = 4,
    sources: Annotated[int, typer.Option(min=1, help="Kept nodes that are ablated and scaled in each graph.")] = 16,
    edits: Annotated[
        int, typer.Option(min=0, help="Unseen edits, and half as many questions about towns; 0: none.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of prompts, changes, edits, and draws of the bootstrap.")] = 0,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Compare a dictionary's replacement model with the model when both are changed alike, with 95 % intervals."""
    from silverstain.evaluation.faithfulness import faithfulness_report
    from silverstain.studies.faithfulness import hops_of

    loaded = load_replacement(loading)
    asked = _asked(loaded.model, prompts, n_prompts, seed)
    with output.progress("prompts", quiet=json) as bar:
        found = faithfulness_report(
            loaded.model, loaded.trained, asked, n_prompts=n_prompts, n_changes=changes, n_sources=sources,
            n_edits=edits, seed=seed, on_progress=bar,
        )  # fmt: skip
        hops = hops_of(loaded, edits, seed=seed, on_progress=bar)
    notes = [*found.notes, *([NO_TOWNS] if edits and hops is None else [])]
    if json:
        measures = {name: value for name, value in found.to_json().items() if name != "notes"}
        output.emit({**measures, "hops": hops and asdict(hops), "notes": notes})
    else:
        tell_faithfulness(loaded, found, hops, notes)


def _asked(model: "LanguageModel", path: Path | None, n: int, seed: int) -> "list[tuple[str, Prompt]]":
    """(family, prompt): of a file, or the organism's own."""
    if path is None:
        from silverstain.organism.prompts import organism_prompts

        return list(organism_prompts(model, n=n, seed=seed))
    from silverstain.attribution import read_prompts
    from silverstain.attribution.prompt_files import BadLine
    from silverstain.models.prompts import as_ids

    asked: list[tuple[str, Prompt]] = []
    for line in read_prompts(path):
        if isinstance(line, BadLine):
            raise UsageError(f"{path}, line {line.line}: {line.reason}")
        try:
            asked.append(("", as_ids(model, line.prompt)))  # a prompt that cannot be run is an error before any is run
        except UsageError as error:
            raise UsageError(f"{path}, line {line.line}: {error}") from error
    return asked
