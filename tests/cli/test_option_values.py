"""Options that verbs share, declared once as fields of a value."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from silverstain.cli.option_values import takes_option_values


@dataclass(frozen=True, kw_only=True)
class Shared:
    model: Annotated[str, typer.Option(help="Which model.")] = "organism"
    threads: Annotated[int | None, typer.Option(min=1)] = None
    hidden: int = 7
    """No flag: it has no option in its type."""


def run(*words: str) -> str:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    @takes_option_values
    def verb(*, file: Annotated[str, typer.Argument()], shared: Shared, top: int = 3) -> None:
        """Say what was given."""
        typer.echo(f"{file} {shared} {top}")

    @app.command()
    @takes_option_values
    def other(*, model: Annotated[str, typer.Argument(help="Its own words.")], shared: Shared) -> None:
        typer.echo(f"{model} {shared}")

    return CliRunner().invoke(app, list(words)).output


def test_the_fields_of_a_value_are_flags_and_the_verb_gets_it_whole():
    assert run("verb", "f").split("\n")[0] == f"f {Shared()} 3"
    assert run("verb", "f", "--model", "m", "--threads", "2", "--top", "1").strip() == (
        f"f {Shared(model='m', threads=2)} 1"
    )
    text = run("verb", "--help")
    assert "Which model." in text
    assert "organism" in text
    assert "--hidden" not in text
    assert "Invalid value" in run("verb", "f", "--threads", "0")


def test_a_parameter_of_the_verb_replaces_the_flag_of_a_field_and_fills_it():
    assert run("other", "mine").strip() == f"mine {Shared(model='mine')}"
    assert "--model" not in run("other", "--help")
