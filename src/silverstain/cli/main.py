"""`silverstain VERB …`: finds the verb, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 our fault, 2 a mistake the user can correct, 4 out of memory, 130 interrupted. Nothing heavy is
imported here: help must answer at once, so verbs are listed by a table and their modules loaded when they are run.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from silverstain.errors import OutOfMemory, Remark, SilverstainError, UsageError, is_out_of_memory
from silverstain.version import __version__

FAULT, MISTAKE, OUT_OF_MEMORY, INTERRUPTED, PIPE_CLOSED = 1, 2, 4, 130, 141
GRAPH_SUFFIX = ".safetensors"

# Verb -> what it is for. Each is the module `silverstain.cli.VERB` with an `app`, but for what MODULES says.
VERBS = {
    "demo": "Trace, draw and prove one answer of the organism. Start here.",
    "trace": "Find the circuit that led from a prompt to its answer.",
    "prune": "Keep the few nodes and edges that carry most of the influence.",
    "show": "Draw a graph's circuit in the terminal.",
    "compare": "Say how the nodes, activations and edges of two graphs agree.",
    "import": "Read a graph of circuit-tracer or Neuronpedia.",
    "verify": "Test a graph's claims on the real model.",
    "intervene": "Change features in the running model and see what it says then.",
    "treat": "Turn a diagnosis into a cure that is saved, applied, measured and undone.",
    "train": "Train a sparse replacement of a model's MLPs on text of yours.",
    "evaluate": "Measure how faithful a dictionary is, beside replacements of MLPs that have no features.",
    "faithfulness": "Compare a dictionary's replacement model with the model when both are changed alike.",
    "convert": "Write a published dictionary of any known format in the common layout.",
    "organism": "Grow, check or describe the small model that comes along.",
    "doctor": "Check that this installation can do its work.",
}

_plain_warning = warnings.showwarning

MODULES = {"import": "import_graph"}  # a reserved word of Python

# typer carries click inside since 0.2x: its errors are found through a class it gives out, whichever click is used.
ClickError = typer.BadParameter.__mro__[2]


class VerbGroup(TyperGroup):
    """A group whose commands are loaded when they are run, and listed without loading them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            raise UsageError(_no_verb(cmd_name))
        command = typer.main.get_command(import_module(f"silverstain.cli.{MODULES.get(cmd_name, cmd_name)}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


app = typer.Typer(cls=VerbGroup, rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback(
    epilog="`silverstain VERB --help` says more. Data goes to stdout, talk to stderr; --json prints one object."
)
def silverstain(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. May stand anywhere in the line.")] = False,
) -> None:
    """Shows how a language model computed an answer, and proves it by intervening on the model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    words, debug = _without_debug(words)
    if words[:1] == ["--version"]:
        print(__version__)
        return 0
    # Both are read when torch and tokenizers start; a model this small is slowed down by more threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = _show_warning
    warnings.simplefilter("default", Remark)
    try:
        result = typer.main.get_command(app).main(args=words, prog_name="silverstain", standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # newer typer turns Ctrl-C into this code, and says nothing
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except BaseException as error:
        if debug and not isinstance(error, SystemExit):
            raise
        return _explain(error)


def _explain(error: BaseException) -> int:
    """One line on stderr, and the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAULT
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _say("interrupted", INTERRUPTED)
    if isinstance(error, ClickError):
        return _explain_words(error)
    if isinstance(error, OutOfMemory):
        return _say(str(error), OUT_OF_MEMORY)
    if isinstance(error, SilverstainError):
        return _say(str(error), MISTAKE)
    if is_out_of_memory(error):
        return _say(
            f"out of memory: {error}; close other programs, shorten the prompt or give --max-features", OUT_OF_MEMORY
        )
    if isinstance(error, Exception):
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        return _say(f"something is wrong in silverstain itself ({what}); run again with --debug and report it", FAULT)
    raise error


def _explain_words(error: Any) -> int:
    """For a line that click cannot read: its own words, and where the help is."""
    words, context = error.format_message(), getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # the words are the whole help
        print(words, file=sys.stderr)
        return MISTAKE
    hint = f"; see {context.command_path} --help" if context else ""
    return _say(words.rstrip(".") + hint, MISTAKE)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **_: Any) -> None:
    """A remark of ours as one line, without the place in our code."""
    if issubclass(category, Remark):
        _say(f"note: {message}", 0)
    else:
        _plain_warning(message, category, *place)


def _say(text: str, code: int) -> int:
    print("silverstain: " + " ".join(text.split()), file=sys.stderr)
    return code


def _without_debug(words: list[str]) -> tuple[list[str], bool]:
    """The words without `--debug`, wherever it stood before a `--`; after it, words are data."""
    end = words.index("--") if "--" in words else len(words)
    ours = [word for word in words[:end] if word != "--debug"]
    return ours + words[end:], len(ours) < end


def _no_verb(word: str) -> str:
    if word.endswith(GRAPH_SUFFIX) or Path(word).is_file():
        return f"the explorer that will open {word} comes in a later version; draw it here: silverstain show {word}"
    from difflib import get_close_matches

    near = get_close_matches(word, VERBS, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"there is no verb {word!r}; {guess}The verbs are {', '.join(VERBS)}"
