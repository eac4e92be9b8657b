"""The second half of `silverstain demo`: a contrast of a real model, drawn and proved."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from silverstain.cli import output
from silverstain.cli.contrasts import curves_in_rows
from silverstain.cli.options import LoadingOptions, load_replacement
from silverstain.known_models import is_kept
from silverstain.printable import printable

if TYPE_CHECKING:
    from silverstain.studies.real_demo import RealDemo

MODEL = "smollm2-135m"
NAMES = {"signed": "by the account", "largest_change": "the largest changes", "random": "random units"}


def show_real(out: Path, threads: int | None, columns: int) -> None:
    """Draw and prove the contrast; one line where the model is not here."""
    found = _demonstrated(out, threads, quiet=False)
    if found is None:
        output.data(f"\n\nA real model is not here yet: silverstain models get {MODEL} fetches one (93 MB), once.")
        return
    shown, file, seconds = found
    output.data("\n\n" + page(shown, columns, colour=output.has_colour()))
    output.talk(f"\n{seconds['trace']:.1f} s from the prompts to the circuit, {seconds['total']:.1f} s with the proof, "
                f"{seconds['load']:.1f} s to load. Wrote {file} and {file.with_suffix('.html').name}")  # fmt: skip


def real_report(out: Path, threads: int | None) -> dict[str, Any] | None:
    """What `--json` says of it; None where the model is not here."""
    found = _demonstrated(out, threads, quiet=True)
    if found is None:
        return None
    shown, file, seconds = found
    return {
        "graph": str(file),
        "contrast": dict(shown.graph.meta["contrast"]),
        "exactness": shown.graph.meta["exactness"],
        "smallest_k": shown.turned.k,
        "smallest_k_back": shown.turned_back.k,
        "curves": {curve.method: dict(curve.values) for curve in shown.curves},
        "seconds": seconds,
    }


def _demonstrated(out: Path, threads: int | None, *, quiet: bool) -> "tuple[RealDemo, Path, dict[str, float]] | None":
    """The demonstration, the file of its graph, and how long it took."""
    if not is_kept(MODEL):
        return None
    from silverstain.explorer.exporting import export_graph
    from silverstain.graphs import story_beside
    from silverstain.studies.real_demo import demonstrate_contrast

    start = perf_counter()
    loaded = load_replacement(LoadingOptions(model=MODEL, dictionary="neurons", threads=threads))
    ready = perf_counter()
    with output.progress("contrasting", quiet=quiet) as on_progress:
        shown = demonstrate_contrast(loaded, on_progress=on_progress)
    file = out / "capital.safetensors"
    shown.graph.save(file)
    shown.story.save(story_beside(file))
    export_graph(file, file.with_suffix(".html"), "html")
    seconds = {
        "load": ready - start,
        "trace": shown.graph.meta["seconds"]["record"] + shown.graph.meta["seconds"]["attribute"],
        "total": perf_counter() - ready,
    }
    return shown, file, seconds


def page(shown: "RealDemo", width: int, *, colour: bool = False) -> str:
    """The contrast as text: what is asked, the circuit, the proof."""
    from silverstain.cli.drawing import draw

    n_weights = sum(p.numel() for p in shown.contrast.model.hf.parameters())
    parts = [
        f"A real model: {MODEL}, {n_weights / 1e6:.0f} million weights, in its own neurons, nothing trained.\n"
        "Why does it answer two prompts differently? Attention, norms and gates are live; the account is exact.",
        draw(shown.graph, shown.story, width=width, colour=colour),
        "The proof: neurons of the second run put into the first, the rest of the model left to itself\n",
        curves_in_rows({NAMES[curve.method]: curve for curve in shown.curves}, indent="    "),
        _verdict(shown),
    ]
    return "\n\n".join(part.strip("\n") for part in parts)


def _verdict(shown: "RealDemo") -> str:
    said = shown.graph.meta["contrast"]
    base, other = (printable(answer).strip() for answer in said["answers"])
    n_units = sum(len(units) for units in shown.contrast.flow.units)
    if shown.turned.k is None:
        return f"The neurons that the account names do not turn {base} into {other}: this does not prove the drawing."
    back = "" if shown.turned_back.k is None else f" In the other direction {shown.turned_back.k} turn it back."
    return f"Of {n_units:,} neurons, {shown.turned.k} turn {base} into {other}.{back}\n{_controls(shown)}"


def _controls(shown: "RealDemo") -> str:
    """What the controls came to, as it was measured."""
    said, by = shown.graph.meta["contrast"], {curve.method: curve.values for curve in shown.curves}
    whole = said["contrast"] - said["base"]
    moved = max(abs(value - said["base"]) / abs(whole) for value in by["random"].values())
    largest, account = max(by["largest_change"].values()), max(by["signed"].values())
    random = f"As many random ones move it by {output.percent(moved)} of the way at most"
    if largest >= account:
        return f"{random}, but those that change most do as much: this does not prove which neurons matter."
    return f"{random}; those that change most get it to {largest:+.1f}, where {account:+.1f} is reached by the account."
