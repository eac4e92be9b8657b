"""`silverstain faithfulness`: does a replacement model behave as the model does when both are changed alike?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.faithfulness_table import tell_faithfulness
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import DictionaryArgument, Json, LoadingOptions, load_replacement
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.interventions.intervene import Prompt
    from silverstain.models import LanguageModel

app = typer.Typer(rich_markup_mode=None, add_completion=False)


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
    from silverstain.evaluation.faithfulness_report import faithfulness_report

    loaded = load_replacement(loading)
    asked = _asked(loaded.model, prompts, n_prompts, seed)
    with output.progress("prompts", quiet=json) as bar:
        found = faithfulness_report(
            loaded, asked, n_prompts=n_prompts, n_changes=changes, n_sources=sources, n_edits=edits, seed=seed,
            on_progress=bar,
        )  # fmt: skip
    if json:
        output.emit(found.to_json())
    else:
        tell_faithfulness(loaded, found)


def _asked(model: "LanguageModel", path: Path | None, n: int, seed: int) -> "list[tuple[str, Prompt]]":
    """(family, prompt): of a file, or the organism's own."""
    from silverstain.evaluation.faithfulness_report import organism_prompts

    if path is None:
        return list(organism_prompts(model, n=n, seed=seed))
    from silverstain.attribution import read_prompts
    from silverstain.attribution.prompt_files import BadLine
    from silverstain.interventions.intervene import as_ids

    asked: list[tuple[str, Prompt]] = []
    for line in read_prompts(path):
        if isinstance(line, BadLine):
            raise UsageError(f"{path}, line {line.line}: {line.reason}")
        try:
            asked.append(("", as_ids(model, line.prompt)))  # a prompt that cannot be run is an error before any is run
        except UsageError as error:
            raise UsageError(f"{path}, line {line.line}: {error}") from error
    return asked
