"""A prompt traced for the page: from what was typed to a graph and its story in the folder."""

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from silverstain.errors import UsageError
from silverstain.explorer.examples import Example, example_named
from silverstain.explorer.folder import free_path, graphs_in
from silverstain.explorer.jobs import Job
from silverstain.explorer.live import Live
from silverstain.printable import printable
from silverstain.validation import FromOutside, ShortText, validated

if TYPE_CHECKING:
    from silverstain.attribution.secant import Contrast
    from silverstain.graphs import Graph, Story
    from silverstain.loading import ReplacementModel

MOST_LETTERS = 10_000
MOST_TOKENS = 512
"""Of a prompt that is traced from the page: attention of longer ones may not fit in memory."""
MOST_TOKENS_OF_TWO = 128
"""Of two prompts, of whose runs all is kept."""
LONGEST_NAME = 48

Text = Annotated[str, Field(max_length=MOST_LETTERS)]


class TraceAsked(FromOutside):
    """What the page sends."""

    model: ShortText = ""
    prompt: Text = ""
    other: Text = ""
    example: ShortText = ""


def traced(folder: Path, live: Live, asked: object, job: Job) -> dict[str, Any]:
    """Trace, group and write; gives the graph's path within the folder."""
    wanted = _checked(asked)
    example = example_named(wanted.example)
    if example is not None and (there := _kept(folder, example)) is not None:
        return {"graph": there}
    offer = live.offer(example.model if example else wanted.model)
    loaded = live.model(offer, job.phase)
    prompt, other = (example.prompt, example.other) if example else (wanted.prompt, wanted.other)
    _check_size(loaded, prompt, other)
    job.phase("running the model")
    if example and example.is_proved:
        graph, story = _demonstrated(loaded, live, job, other)
    elif other.strip():
        graph, story = _contrasted(loaded, live, prompt, other, job)
    else:
        graph, story = _traced(loaded, prompt, job)
    job.phase("writing the graph")
    return {"graph": _written(folder, graph, story, example)}


def _checked(asked: object) -> TraceAsked:
    prompts = [asked.get(name) for name in ("prompt", "other")] if isinstance(asked, dict) else []
    longest = max((len(one) for one in prompts if isinstance(one, str)), default=0)
    if longest > MOST_LETTERS:
        raise UsageError(
            f"the prompt has {longest:,} characters, and the page takes at most {MOST_LETTERS:,}; shorten it"
        )
    wanted = validated(TraceAsked, asked, "what the page sent", "load the page again")
    if not wanted.example and not wanted.prompt.strip():
        raise UsageError("there is no prompt; type the beginning of a sentence that the model is to continue")
    if wanted.example and example_named(wanted.example) is None:
        raise UsageError(f"there is no example {printable(wanted.example, 40)!r}; load the page again")
    return wanted


def _check_size(loaded: "ReplacementModel", prompt: str, other: str) -> None:
    most = MOST_TOKENS_OF_TWO if other.strip() else MOST_TOKENS
    for text in (prompt, other):
        n = len(loaded.model.tokenize(text)) if text else 0
        loaded.model.check_length(n)
        if n > most:
            raise UsageError(
                f"the prompt has {n:,} tokens, and the page traces at most {most}; shorten it, or trace it in a "
                "terminal: silverstain trace PROMPT --max-features 300 --out FILE"
            )


def _traced(loaded: "ReplacementModel", prompt: str, job: Job) -> "tuple[Graph, Story]":
    job.phase("tracing what led to the answer")
    graph = loaded.trace(prompt, on_progress=job.progress)
    job.phase("keeping what matters")
    graph = graph.prune()
    job.phase("grouping and naming")
    return graph, loaded.read(graph)


def _contrasted(loaded: "ReplacementModel", live: Live, prompt: str, other: str, job: Job) -> "tuple[Graph, Story]":
    """The same of two prompts; their runs are kept, so that patching begins at once."""
    from silverstain.attribution.secant import contrast_graph, find_contrast

    job.phase("running both prompts and following their difference")
    found = find_contrast(loaded.model, loaded.dictionary, prompt, other)
    job.phase("drawing its lines")
    graph = contrast_graph(found)
    job.phase("keeping what matters")
    graph = graph.prune()
    _keep(live, graph, found)
    job.phase("grouping and naming")
    return graph, loaded.read(graph)


def _demonstrated(loaded: "ReplacementModel", live: Live, job: Job, other: str) -> "tuple[Graph, Story]":
    """The examples that come with a proof."""
    from silverstain.studies import demonstrate
    from silverstain.studies.real_demo import demonstrate_contrast

    job.phase("tracing, and proving it by a change of the model")
    if not other:
        shown = demonstrate(loaded, on_progress=job.progress)
        return shown.graph, shown.story
    found = demonstrate_contrast(loaded, on_progress=job.progress)
    _keep(live, found.graph, found.contrast)
    return found.graph, found.story


def _keep(live: Live, graph: "Graph", found: "Contrast") -> None:
    from silverstain.explorer.contrasting import ordered

    live.kept("patching", graph, lambda: ordered(found))


def _kept(folder: Path, example: Example) -> str | None:
    """The graph of an example that is in the folder already."""
    path = folder / f"{example.name}.safetensors"
    if not path.is_file():
        return None
    wanted = example.other or example.prompt
    return next((one.path for one in graphs_in(folder) if one.path == path.name and one.prompt == wanted), None)


def _written(folder: Path, graph: "Graph", story: "Story", example: Example | None) -> str:
    from silverstain.graphs import story_beside

    path = free_path(folder, example.name if example else name_of(str(graph.meta.get("prompt") or "")))
    try:
        graph.save(path)
        story.save(story_beside(path))
    except OSError as error:
        raise UsageError(f"cannot write {path.name} in the folder that is open: {error.strerror or error}") from error
    return path.relative_to(folder).as_posix()


def name_of(prompt: str) -> str:
    """A file's name from a prompt: letters and digits of its last words, the rest as dashes."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    name = ""
    for word in reversed(words):
        if len(name) + len(word) + 1 > LONGEST_NAME:
            break
        name = f"{word}-{name}" if name else word
    return name or "graph"
