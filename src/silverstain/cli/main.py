"""`silverstain VERB …`: finds the verb, and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 our fault, 2 a mistake the user can correct, 4 out of memory, 130 interrupted. Nothing heavy is
imported here: help must answer at once, so verbs are listed by a table and their modules loaded when they are run.
"""

import atexit
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.completion import completion_init  # pyright: ignore[reportPrivateImportUsage]
from typer.core import TyperGroup

from silverstain.cli.bounds import bound_numbers
from silverstain.cli.help import readable_help
from silverstain.cli.quick_start import collect_rarely
from silverstain.cli.refusals import what_the_system_refuses
from silverstain.cli.streams import open_streams, silence, written
from silverstain.errors import OutOfMemory, Remark, SilverstainError, UsageError, is_out_of_memory
from silverstain.printable import abridged, printable
from silverstain.version import __version__

FAULT, MISTAKE, OUT_OF_MEMORY, INTERRUPTED, PIPE_CLOSED = 1, 2, 4, 130, 141
GRAPH_SUFFIX = ".safetensors"
LONGEST_LINE = 1_000
"""Characters of a message: what it quotes may be megabytes long."""

# What a person wants -> verb -> what it is for. Each verb is the module `silverstain.cli.VERB` with an `app`, but for
# what MODULES says.
VERB_GROUPS = {
    "Look": {
        "demo": "Trace, draw and prove one answer of the organism. Start here.",
        "trace": "Find the circuit that led from a prompt to its answer.",
        "show": "Draw a graph's circuit in the terminal.",
        "explore": "Look at graphs in a browser; a graph file alone does the same.",
        "account": "Tell a graph in plain sentences, each with its figures.",
        "paths": "Say by which paths one node of a graph reaches another.",
        "group": "Find units of one role and make groups of them.",
        "compare": "Say how two graphs agree, or what a family of them shares.",
        "query": "Ask a folder of graphs in SQL.",
    },
    "Prove": {
        "circuit": "Find the fewest groups that make the answer, by measuring.",
        "verify": "Test a graph's claims on the real model.",
        "study": "Ask whether a model plans, adds, translates or reasons as the papers found.",
        "audit": "Tell whether answers come from the evidence or from a shortcut.",
        "faithfulness": "Compare a dictionary's replacement model with the model when both are changed alike.",
        "evaluate": "Measure how faithful a dictionary is, beside replacements of MLPs that have no features.",
    },
    "Change": {
        "intervene": "Change features in the running model and see what it says then.",
        "treat": "Turn a diagnosis into a cure that is saved, applied, measured and undone.",
    },
    "Train": {
        "train": "Train a sparse replacement of a model's MLPs on text of yours.",
        "organism": "Describe, check or grow the small model that comes along.",
    },
    "Read": {
        "features": "Describe features over text, name them, and look them up.",
        "lens": "Find what each layer's stream becomes in the last, to read features through.",
    },
    "Files": {
        "prune": "Keep the few nodes and edges that carry most of the influence.",
        "import": "Read a graph of circuit-tracer or Neuronpedia.",
        "export": "Write a graph as a page, a picture, a table or JSON for other tools.",
        "convert": "Write a published dictionary of any known format in the common layout.",
    },
    "This installation": {
        "models": "Fetch real models that go by a name, list and remove them.",
        "text": "Fetch text to train on that goes by a name, list and remove it.",
        "doctor": "Check that this installation can do its work.",
        "completion": "Print the lines that let a shell complete verbs and flags.",
    },
}
VERBS = {verb: about for group in VERB_GROUPS.values() for verb, about in group.items()}

_plain_warning = warnings.showwarning

COMPLETION = "_SILVERSTAIN_COMPLETE"
"""Set by the lines of `silverstain completion` when a shell asks what may come next."""
MODULES = {"import": "import_graph"}  # a reserved word of Python

# typer carries click inside since 0.2x: its errors are found through a class it gives out, whichever click is used.
ClickError = typer.BadParameter.__mro__[2]


class VerbGroup(TyperGroup):
    """A group whose commands are loaded when they are run, and listed without loading them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS and ctx is not None and ctx.resilient_parsing:
            return None  # a shell asks what may come next
        if cmd_name not in VERBS:
            raise UsageError(_no_verb(cmd_name))
        command = typer.main.get_command(import_module(f"silverstain.cli.{MODULES.get(cmd_name, cmd_name)}").app)
        command.name = cmd_name
        bound_numbers(command)
        readable_help(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, VERBS))
        for heading, verbs in VERB_GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(verb.ljust(width), about) for verb, about in verbs.items()])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)  # verbs are what a person looks for
        with formatter.section("Options"):
            records = (parameter.get_help_record(ctx) for parameter in self.get_params(ctx))
            formatter.write_dl([record for record in records if record])


app = typer.Typer(
    cls=VerbGroup,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    epilog="`silverstain VERB --help` says more. Data goes to stdout, talk to stderr; --json prints one object."
)
def silverstain(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. May stand anywhere in the line.")] = False,
) -> None:
    """Shows how a language model computed an answer, and proves it by intervening on the model."""


def program() -> NoReturn:
    """The command line as a program: runs it, and ends the process at once.

    Freeing some hundred thousand objects of torch one by one would take longer than many verbs do.
    """
    collect_rarely()
    code = main()
    atexit._run_exitfuncs()
    silence()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    words, debug = _without_debug(words)
    # Both are read when torch and tokenizers start; a model this small is slowed down by more threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = _show_warning
    warnings.simplefilter("default", Remark)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BaseException as error:
        if debug and not isinstance(error, SystemExit):
            raise
        return _explain(error)


def _run(words: list[str]) -> int:
    _check_words(words)
    if words and words[0] not in VERBS and _is_graph(words[0]):
        words = ["explore", *words]
    if words[:1] == ["--version"]:
        sys.stdout.write(__version__ + "\n")
        return 0
    stdout = sys.stdout
    if COMPLETION in os.environ:
        completion_init()
    try:
        result = typer.main.get_command(app).main(
            args=words, prog_name="silverstain", complete_var=COMPLETION, standalone_mode=False
        )
    finally:
        sys.stdout = stdout  # typer leaves something else there when the reader of a pipe is gone
    if result == INTERRUPTED:  # newer typer turns Ctrl-C into this code, and says nothing
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def _check_words(words: Sequence[str]) -> None:
    """UsageError for a word that is no text: the system gives bytes, which may be anything."""
    for word in words:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the argument {word!r:.80} is no text in UTF-8; write it so, or give it another name"
            ) from error


def _explain(error: BaseException) -> int:
    """One line on stderr, and the exit code."""
    try:
        return _explained(error)
    except BrokenPipeError:
        silence()
        return PIPE_CLOSED
    except OSError:  # there is no room on stderr either
        silence()
        return MISTAKE


def _explained(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        silence()  # the reader, such as `head`, has seen enough; typer makes a SystemExit of it
        return PIPE_CLOSED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAULT
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _say("interrupted", INTERRUPTED)
    if isinstance(error, ClickError):
        return _explain_words(error)
    if isinstance(error, OutOfMemory):
        return _say(str(error), OUT_OF_MEMORY)
    if isinstance(error, UsageError) and error.shown:
        lines = ["  " + printable(abridged(line, LONGEST_LINE)) for line in error.shown]
        code = _say(str(error).partition("\n")[0], MISTAKE)
        written("\n".join(lines), sys.stderr)
        return code
    if isinstance(error, SilverstainError):
        return _say(str(error), MISTAKE)
    if is_out_of_memory(error):
        return _say(
            f"out of memory: {error}; close other programs, shorten the prompt or give --max-features", OUT_OF_MEMORY
        )
    if (mistake := what_the_system_refuses(error)) is not None:
        silence()
        return _say(mistake, MISTAKE)
    if isinstance(error, Exception):
        what = printable(f"{type(error).__name__}: {error}".rstrip(": "), 300)
        return _say(f"something is wrong in silverstain itself ({what}); run again with --debug and report it", FAULT)
    raise error


def _explain_words(error: Any) -> int:
    """For a line that click cannot read: its own words, and where the help is."""
    words, context = error.format_message(), getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # the words are the whole help
        written(words, sys.stderr)
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
    written("silverstain: " + printable(" ".join(abridged(text, LONGEST_LINE).split())), sys.stderr)
    sys.stderr.flush()
    return code


def _without_debug(words: list[str]) -> tuple[list[str], bool]:
    """The words without `--debug`, wherever it stood before a `--`; after it, words are data."""
    end = words.index("--") if "--" in words else len(words)
    ours = [word for word in words[:end] if word != "--debug"]
    return ours + words[end:], len(ours) < end


def _is_graph(word: str) -> bool:
    """Whether a word that stands where a verb should is a graph, or would be one."""
    try:
        return not word.startswith("-") and (word.endswith(GRAPH_SUFFIX) or Path(word).is_file())
    except (OSError, ValueError):  # a text that no path can be
        return False


def _no_verb(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, VERBS, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"there is no verb {word!r}; {guess}The verbs are {', '.join(VERBS)}"
