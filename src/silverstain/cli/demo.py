"""`silverstain demo`: trace, draw and prove one answer of the organism."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.options import DictionaryName, Json, LoadingOptions, Threads, Width, load_replacement
from silverstain.cli.real_demo import real_report, show_real

if TYPE_CHECKING:
    from silverstain.studies import Demo

PLANNED = "one day i saw the {} , then came his wooden and small"
"""A couplet whose end is chosen by the word that stands here."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="It needs no network and no GPU, writes a few files and ends.")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the graph and the story.")] = Path("runs/demo"),
    dictionary: DictionaryName = None,
    real: Annotated[
        bool, typer.Option(help="Also show a real model, if `silverstain models get smollm2-135m` has fetched it.")
    ] = True,
    threads: Threads = None,
    width: Width = None,
    json: Json = False,
) -> None:
    """Trace, draw and prove one answer of the organism, a small language model that comes along; then of a real one."""
    start = perf_counter()
    loaded = load_replacement(LoadingOptions(dictionary=dictionary, threads=threads))
    ready = perf_counter()
    from silverstain.explorer.exporting import export_graph
    from silverstain.graphs import story_beside
    from silverstain.studies import demonstrate

    with output.progress("tracing", quiet=json) as on_progress:
        shown = demonstrate(loaded, on_progress=on_progress)
    seconds = {"load": ready - start, **shown.graph.meta["seconds"], "total": perf_counter() - start}
    file = out / "dallas.safetensors"
    shown.graph.save(file)
    shown.story.save(story_beside(file))
    export_graph(file, file.with_suffix(".html"), "html")
    if json:
        report = _report(shown, file, seconds)
        output.emit(report | {"real_model": real_report(out, threads) if real else None})
        return
    n_weights = sum(p.numel() for p in loaded.model.hf.parameters())
    columns = output.terminal_width(width)
    output.data(page(shown, n_weights, columns, colour=output.has_colour()))
    if real:
        show_real(out, threads, columns)
    output.talk(farewell(file, shown, seconds))


def page(shown: "Demo", n_weights: int, width: int, *, colour: bool = False) -> str:
    """The whole demonstration as text."""
    from silverstain.cli.drawing import draw
    from silverstain.cli.trace import figures

    question, answer = shown.question, shown.swap.baseline[0]
    parts = [
        f"A language model of {n_weights / 1e6:.1f} million weights, which comes along, continues",
        f"    {question.prompt} → {answer.token}  {output.percent(answer.probability)}",
        "1. How it got there\n",
        draw(shown.graph, shown.story, width=width, colour=colour),
        "2. How much of it this explains\n",
        figures(shown.graph),
        "3. The proof: change the middle and watch the answer\n",
        _proof(shown),
        _table(shown),
        _verdict(shown),
    ]
    return "\n\n".join(part.strip("\n") for part in parts)


def _proof(shown: "Demo") -> str:
    question, (one, other) = shown.question, shown.n_towns
    return (
        f"The prompt does not name the state. In the real model, {shown.n_moved} features are moved at the last word,\n"
        f"by what they do for {other} towns of {question.other_state} less what they do for {one} other towns of\n"
        f"{question.state}, over all questions. {question.town} is not among them, and its words are left as they are."
    )


def _table(shown: "Demo") -> str:
    """Probabilities before, under the swap, and under the control that moves the answer most."""
    runs = (shown.swap, shown.control)
    ids = {line.id: line.token for run in runs for line in run.edited[:3]}
    ids = {shown.answer_id: shown.question.answer, shown.other_answer_id: shown.question.other_answer} | ids
    question = shown.question
    rows = [["", "before", f"{question.state} → {question.other_state}", "random features"]]
    for token_id, token in list(ids.items())[:5]:
        cells = [shown.swap.probability(token_id)[0], *(run.probability(token_id)[1] for run in runs)]
        rows.append([token, *map(output.percent, cells)])
    leads = [shown.lead(shown.swap, edited=False), *map(shown.lead, runs)]
    rows.append([f"lead over {question.other_answer}, logits", *(f"{lead:+.1f}" for lead in leads)])
    return output.table(rows, right=(1, 2, 3), indent="    ")


def _verdict(shown: "Demo") -> str:
    said, n = shown.swap.edited[0].token, len(shown.controls)
    swapped = f"With {shown.question.other_state} in the middle the model says {said}" + (
        "." if shown.is_swapped else f", not {shown.question.other_answer}: this swap does not prove the drawing."
    )
    if shown.n_controls_changed:
        return f"{swapped} But {shown.n_controls_changed} of {n} random changes of the same size change the answer too."
    tries = f"{n} tries, the worst of them above"
    active = shown.active_controls
    said = "none changes" if not shown.n_active_controls_changed else f"{shown.n_active_controls_changed} change"
    return (
        f"{swapped}\nAs many random features, moved as much one way and the other, leave the answer as it was:\n"
        f"{tries}. Of {len(active)} moves of other features that are active there, {said} it."
    )


def farewell(file: Path, shown: "Demo", seconds: dict[str, float]) -> str:
    """What was written, and what to try next."""
    from silverstain.graphs import story_beside

    return "\n".join(
        [
            "",
            f"{seconds['record'] + seconds['attribute']:.2f} s to trace, {seconds['total']:.1f} s in all. "
            f"Wrote {file}, {story_beside(file).name} and {file.with_suffix('.html').name}",
            "",
            f"See it: open {file.with_suffix('.html')} in a browser; it needs nothing else.",
            "Or play with the live model:",
            f"    silverstain explore {file}",
            "",
            "Next:",
            f"    silverstain show {file} --boxes 6",
            '    silverstain trace "calc: 36+59=" --out sum.safetensors',
            f'    silverstain intervene "{shown.question.prompt}" --story {file} --edit "ablate:{_group(shown)}"',
            "    silverstain organism info",
            "An organism that plans ahead, with attention in the drawing:",
            f'    silverstain trace "{PLANNED.format("tree")}" --contrast "{PLANNED.format("snail")}" '
            "--model organism/composing",
        ]
    )


def _group(shown: "Demo") -> str:
    """A group of the drawing to try an edit on: the hidden variable's, if it is one."""
    from silverstain.studies.demo import state_group

    labels = [group.label for group in shown.story.groups]
    wanted = state_group(shown.question)
    return wanted if wanted in labels or not labels else labels[0]


def _report(shown: "Demo", file: Path, seconds: dict[str, float]) -> dict[str, Any]:
    from silverstain.graphs import counts_of, groups_of, story_beside

    return {
        "graph": str(file),
        "story": str(story_beside(file)),
        "page": str(file.with_suffix(".html")),
        "prompt": shown.graph.meta["prompt"],
        "tokens": shown.graph.meta["tokens"],
        "targets": shown.graph.meta["targets"],
        **counts_of(shown.graph),
        "scores": shown.graph.scores()._asdict(),
        "exactness": shown.graph.meta["exactness"],
        "groups": groups_of(shown.graph, shown.story),
        "swap": {**shown.swap.to_json(), "edits": [str(edit) for edit in shown.swap.edits]},
        "controls": [_control(control) for control in shown.controls],
        "active_controls": [_control(control) for control in shown.active_controls],
        "answered": shown.is_answered,
        "swapped": shown.is_swapped,
        "proved": shown.is_proved,
        "seconds": seconds,
    }


def _control(control: Any) -> dict[str, Any]:
    return {"edited": control.to_json()["edited"], "kl": control.kl, "changed": control.is_changed}
