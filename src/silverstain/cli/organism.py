"""`silverstain organism`: grow, check or describe the small model that comes along."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import indent, wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.options import Json, Threads
from silverstain.errors import UsageError
from silverstain.storage import check_writable

if TYPE_CHECKING:
    from silverstain.organism.causal_map import CausalMap
    from silverstain.organism.checking import Row

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Describe, check or grow the organism: a small model grown on a small world whose hidden variables are known.",
)

WORDS_WIDTH = 100
PARTS = ("models", "maps", "dictionaries", "cards")

Siblings = Annotated[
    list[str] | None, typer.Option("--sibling", help="Only this one; may be repeated.", show_default="all")
]
Folder = Annotated[
    Path | None, typer.Option(help="A folder that was grown.", show_default="the organisms that come along")
]


@app.command()
def info(folder: Folder = None, json: Json = False) -> None:
    """Say which organisms and dictionaries there are, and what each was grown for."""
    from silverstain.organism import organism_path
    from silverstain.organism.files import litter_folder
    from silverstain.organism.siblings import siblings
    from silverstain.organism.small import SMALL_RECIPES
    from silverstain.storage import hash_file

    small = {name for names in SMALL_RECIPES.values() for name in names}

    root = folder or organism_path()
    found, places = [], {root}
    for name, sibling in siblings().items():
        place = litter_folder(name, folder)
        places.add(place)
        weights = place / name / "model.safetensors"
        if name in small and not weights.exists():
            continue
        kinds = sorted(path.parent.name for path in (place / "dictionaries" / name).glob("*/config.yaml"))
        is_there = weights.exists()
        found.append(
            {
                "name": name,
                "about": sibling.about,
                "there": is_there,
                "megabytes": weights.stat().st_size / 1e6 if is_there else 0.0,
                "hash": hash_file(weights) if is_there else None,
                "dictionaries": kinds,
                "families": sorted(sibling.families()),
            }
        )
    total = sum(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file()) / 1e6
    if json:
        output.emit({"folder": str(root), "megabytes": total, "organisms": found})
        return
    rows = [["organism", "", "weights", "dictionaries"]]
    for one in found:
        size = output.size(1e6 * one["megabytes"]) if one["there"] else "not grown"
        rows.append([one["name"], one["about"], size, ", ".join(one["dictionaries"]) or "none"])
    output.data(output.table(rows))
    where = " and ".join(sorted(map(str, places)))
    output.talk(f"{where}: {output.size(1e6 * total)} in all. Next: silverstain trace --model organism/quirk …")


@app.command(epilog="Ctrl-C stops it without losing what is done; the same command goes on.")
def grow(
    out: Annotated[Path, typer.Option(help="Folder to grow in.")] = Path("runs/organism"),
    sibling: Siblings = None,
    what: Annotated[
        list[str] | None, typer.Option(help="models, maps, dictionaries or cards; may be repeated.", show_default="all")
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Which organisms: first, those that come along; composing, one whose answers take steps; alone, small "
            "ones of one family each; habits, ten with a habit and their twins."
        ),
    ] = "first",
    seed: Annotated[int, typer.Option(help="The same seed grows the same organism.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on where an earlier run stopped, or refuse to touch it.")] = True,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Grow organisms, train their dictionaries and describe the features, from a seed."""
    from silverstain.organism.siblings import RECIPES, siblings

    (recipe,) = _chosen([recipe], list(RECIPES), "recipe")
    names = _chosen(sibling, [name for name in siblings() if name in RECIPES[recipe]], "sibling")
    parts = _chosen(what, list(PARTS), "part")
    if not resume and out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and --no-resume was given; choose another folder with --out")
    check_writable(out / "any")
    made = _grow(names, parts, out, seed, threads or 2, quiet=json)
    if json:
        output.emit({"folder": str(out), "seed": seed, "made": made})
    else:
        output.talk(f"Done in {out}. Next: silverstain organism check --folder {out}")


@app.command()
def words(json: Json = False) -> None:
    """List the words that the organism knows, by kind: prompts are written with these."""
    from silverstain.organism.known_words import known_words

    found = known_words()
    if json:
        output.emit({"kinds": {kind: list(listed) for kind, listed in found.items()}})
        return
    for kind, listed in found.items():
        output.data(f"{kind} ({len(listed)})")
        lines = wrap(" ".join(listed), WORDS_WIDTH, break_on_hyphens=False)
        output.data(indent("\n".join(lines), "  ") + "\n")
    output.talk('Next: silverstain trace "the capital of the state containing dallas is"')


def _grow(names: Sequence[str], parts: Sequence[str], out: Path, seed: int, workers: int, *, quiet: bool) -> list[str]:
    """Each part of each sibling in turn; names of what is there now."""
    from silverstain.organism.describing import CARDS, describe_dictionary
    from silverstain.organism.files import CAUSAL_MAP
    from silverstain.organism.litter import DICTIONARIES, MAPPED, grow_sibling, map_variables, train_dictionaries

    made = []
    for name in names:
        if "models" in parts:
            with output.progress(name, quiet=quiet) as bar:
                grow_sibling(name, out, seed=seed, n_workers=workers, report=_steps(bar))
            made.append(name)
        if "maps" in parts and name in MAPPED:
            with output.progress(f"{name}, variables", quiet=quiet) as bar:
                map_variables(name, out, on_progress=bar)
            made.append(f"{name}/{CAUSAL_MAP}")
        for kind in DICTIONARIES.get(name, {}):
            label = f"{name}/{kind}"
            if "dictionaries" in parts:
                with output.progress(label, quiet=quiet) as bar:
                    train_dictionaries(name, out, seed=seed, kinds=[kind], report=_steps(bar))
                made.append(label)
            if "cards" in parts and not (out / "dictionaries" / name / kind / CARDS).exists():
                with output.progress(f"{label}, cards", quiet=quiet) as bar:
                    describe_dictionary(name, kind, folder=out, on_progress=bar)
                made.append(f"{label}/{CARDS}")
    return made


def _steps(bar: Any) -> Any:
    """From the makers' progress values to (done, in all); growing says `steps`, training `n_steps`."""
    return lambda _, progress: bar(progress.step, getattr(progress, "n_steps", getattr(progress, "steps", 0)))


@app.command()
def check(
    sibling: Siblings = None,
    folder: Folder = None,
    n: Annotated[int, typer.Option("--n", min=10, help="Sentences a row.")] = 400,
    seed: Annotated[int, typer.Option(help="Which sentences.")] = 1,
    identifiability: Annotated[
        bool, typer.Option(help="Instead, show where each hidden variable is computed, without any dictionary.")
    ] = False,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Print what each organism can do, by family, on what it was grown on and on what was held out."""
    import torch

    from silverstain.organism.files import model_folder
    from silverstain.organism.growing import is_grown
    from silverstain.organism.siblings import siblings

    torch.set_num_threads(threads or 1)
    names = _chosen(sibling, list(siblings()), "sibling")
    names = names if sibling else [name for name in names if is_grown(model_folder(name, folder))]
    if identifiability:
        _identifiability(names if sibling else ["general"], folder, n, seed, json)
        return
    from silverstain.organism.report import check as check_sibling

    tables = {name: check_sibling(name, folder=folder, n=n, seed=seed) for name in names}
    holds = all(row.holds is not False for rows in tables.values() for row in rows)
    if json:
        output.emit({"holds": holds, "organisms": {name: [_row(r) for r in rows] for name, rows in tables.items()}})
        return
    for name, rows in tables.items():
        output.data(f"{name}: {siblings()[name].about}")
        output.data(_accuracy_table(rows) + "\n")
    output.talk("Every goal is met." if holds else "Rows marked ✗ miss their goal.")


def _row(row: "Row") -> dict[str, Any]:
    values = {key: getattr(row, key) for key in ("family", "split", "n", "tokens", "answers", "holds")}
    return values | {"goal": None if row.goal is None else list(row.goal)}


def _accuracy_table(rows: "Sequence[Row]") -> str:
    lines = [["", "family", "split", "n", "tokens", "answers", "goal"]]
    for row in rows:
        mark = {True: "✓", False: "✗", None: ""}[row.holds]
        goal = "" if row.goal is None else f"{100 * row.goal[0]:.0f} to {100 * row.goal[1]:.0f} %"
        shares = [f"{100 * share:.1f} %" for share in (row.tokens, row.answers)]
        lines.append([mark, row.family, row.split, str(row.n), *shares, goal])
    return output.table(lines, right=(3, 4, 5, 6))


def _identifiability(names: Sequence[str], folder: Path | None, n: int, seed: int, json: bool) -> None:
    """Where each hidden variable is computed, from probes and exchanges alone."""
    from dataclasses import asdict

    from silverstain.organism import load_organism_model
    from silverstain.organism.mapping import causal_map
    from silverstain.organism.siblings import siblings

    found = {}
    for name in names:
        model = load_organism_model(name, folder=folder)
        with output.progress(f"{name}, variables", quiet=json) as bar:
            found[name] = causal_map(
                model.hf,
                model.tokenizer,
                n=n,
                seed=seed,
                only=siblings()[name].variables(),
                on_progress=lambda done, total, _, bar=bar: bar(done, total),
            )
    if json:
        verdicts = {name: [asdict(item.verdict) for item in value.variables] for name, value in found.items()}
        output.emit(
            {"organisms": {name: asdict(value) | {"verdicts": verdicts[name]} for name, value in found.items()}}
        )
        return
    for name, value in found.items():
        output.data(f"{name}\n{variables_table(value)}\n")
    output.talk(
        "moved: answers of held-out pairs that follow when the variable's part of the stream is exchanged there;\n"
        "read: a linear probe on held-out combinations. What each verdict is: docs/organism.md."
    )


def variables_table(found: "CausalMap") -> str:
    """A line for each variable, shares in per cent with 95 % intervals."""
    from silverstain.organism.interchange import EMBEDDING, GATHERED

    header = ["variable", "right", "verdict", "from", "dims", "moved", "embedding", "at m0", "random", "read"]
    rows = [[*header, "bag of tokens"]]
    for item in found.variables:
        verdict = item.verdict
        places = item.places_at(verdict.stage)
        rows.append([
            item.name, f"{100 * item.base_right.value:.0f}", verdict.kind,
            f"{verdict.stage} {', '.join(verdict.roles)}",
            str(places.size), str(places.part), str(item.places_at(EMBEDDING).part),
            str(item.places_at(GATHERED).part), str(places.random), str(places.probe), str(item.bag_of_tokens),
        ])  # fmt: skip
    return output.table(rows, indent="", right=(1, 4))


def _chosen(wanted: Sequence[str] | None, known: Sequence[str], noun: str) -> list[str]:
    """Those asked for in the known order, or all; UsageError for an unknown one."""
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise UsageError(f"there is no {noun} {unknown[0]!r}; there are {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]
