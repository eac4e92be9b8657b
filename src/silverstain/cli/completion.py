"""`silverstain completion`: the lines that let a shell complete verbs and flags."""

from enum import StrEnum
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.main import COMPLETION

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Shell(StrEnum):
    """Shells that completion is written for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


@app.command(epilog='Example: silverstain completion bash >> ~/.bashrc (for zsh: eval "$(silverstain completion zsh)")')
def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the lines that let a shell complete verbs and flags; add them to the file it reads when it starts."""
    from typer.completion import get_completion_script  # pyright: ignore[reportPrivateImportUsage]

    output.data(get_completion_script(prog_name="silverstain", complete_var=COMPLETION, shell=shell.value))
