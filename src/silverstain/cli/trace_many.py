"""`silverstain trace --prompts`: many prompts through one loaded model, each graph a file of a folder."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from silverstain.cli import output
from silverstain.errors import OutOfMemory, UsageError

if TYPE_CHECKING:
    from silverstain.attribution import Outcome, TraceSettings
    from silverstain.graphs import Graph
    from silverstain.loading import ReplacementModel

MOST_NAMED = 10
"""Lines that failed and are named one by one: a damaged file may have thousands."""


def trace_file(
    replacement: "ReplacementModel",
    prompts: Path,
    folder: Path | None,
    settings: "TraceSettings",
    *,
    prune: bool,
    json: bool,
) -> None:
    """Trace each prompt of a file and say what became of it; UsageError or OutOfMemory at the end if any failed."""
    if folder is None:
        raise UsageError(f"--prompts {prompts} makes many graphs; name their folder: --out FOLDER")
    from silverstain.attribution import INDEX, read_prompts, trace_many
    from silverstain.graphs import story_beside

    def keep_story(graph: "Graph", file: Path) -> None:
        replacement.read(graph).save(story_beside(file))

    lines = read_prompts(prompts)
    work = trace_many(
        replacement.model, replacement.dictionary, lines, folder, settings=settings, prune=prune, on_graph=keep_story
    )
    outcomes: list[Outcome] = []
    n_failed = 0
    try:
        with output.progress("prompts") as advance:
            for outcome in work:
                outcomes.append(outcome)
                advance(len(outcomes), len(lines))
                n_failed += outcome.state == "failed"
                if outcome.state != "failed" or n_failed <= MOST_NAMED:
                    output.talk(_in_words(outcome, len(lines), prompts))
    except KeyboardInterrupt:
        output.talk(f"{len(outcomes)} of {len(lines)} lines are done; the same command goes on behind them")
        raise
    _report(outcomes, folder, folder / INDEX, prompts, json=json)


def _in_words(outcome: "Outcome", total: int, prompts: Path) -> str:
    if outcome.state == "failed":
        return f"{prompts}, line {outcome.line}: {outcome.error}"
    if outcome.state == "skipped":
        return f"line {outcome.line} of {total}: {outcome.id} is there already"
    targets = ", ".join(target["name"] for target in outcome.entry["targets"][:3])
    seconds = outcome.entry["seconds"]["total"]
    return f"line {outcome.line} of {total}: {outcome.id} → {targets}, {outcome.entry['edges']} edges, {seconds:.2f} s"


def _report(outcomes: "list[Outcome]", folder: Path, index: Path, prompts: Path, *, json: bool) -> None:
    states = Counter(outcome.state for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    counts = {state: states[state] for state in ("traced", "skipped", "failed")}
    if json:
        failures = [{"line": outcome.line, "id": outcome.id, "error": outcome.error} for outcome in failed]
        output.emit({"folder": str(folder), "index": str(index), **counts, "failures": failures})
    else:
        output.data(", ".join(f"{count} {state}" for state, count in counts.items()))
        output.talk(f"Graphs are in {folder}, what is in them in {index}")
    if failed:
        few = ", ".join(str(outcome.line) for outcome in failed[:MOST_NAMED]) + (
            ", …" if len(failed) > MOST_NAMED else ""
        )
        lines = "line" if len(failed) == 1 else "lines"
        said = "what is wrong is said above" + (f" of the first {MOST_NAMED}" if len(failed) > MOST_NAMED else "")
        words = f"{len(failed)} of {len(outcomes)} lines of {prompts} failed ({lines} {few}); {said}"
        if any(outcome.is_out_of_memory for outcome in failed):
            raise OutOfMemory(words)
        raise UsageError(f"{words}; correct them and run the same command again")
