"""Many prompts through one loaded model: each graph a file, an index of what was made, and no work done twice.

The index is JSONL, one object a graph, appended as soon as the graph is written whole; so whatever stops a run, all
that is in the index is there, and the same call goes on behind it. A line of the index carries a hash of everything
its graph depends on: prompt, settings, model, dictionary.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from silverstain.attribution.prompt_files import BadLine, PromptLine
from silverstain.attribution.settings import TraceSettings
from silverstain.attribution.tracing import Progress, trace
from silverstain.bases import Basis, check_fits
from silverstain.brief import brief
from silverstain.documents import parsed_json, read_text
from silverstain.errors import OutOfMemory, UsageError, is_out_of_memory
from silverstain.graphs import Graph, scores
from silverstain.models import LanguageModel
from silverstain.storage import write_text_whole
from silverstain.validation import Count, Finite, FromOutside

INDEX = "index.jsonl"
MOST_BYTES = 1 << 30


class _Named(FromOutside):
    name: str


class _Took(FromOutside):
    total: Finite


class IndexLine(FromOutside):
    """What a line of the index must have for its graph to be told of and skipped."""

    id: str
    graph: str
    settings_hash: str
    targets: list[_Named]
    edges: Count
    seconds: _Took


@brief
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one line."""

    line: int
    state: Literal["traced", "skipped", "failed"]
    id: str = ""
    entry: dict[str, Any] = field(default_factory=dict)
    """The graph's line in the index."""
    error: str = ""
    is_out_of_memory: bool = False


def trace_many(
    model: LanguageModel,
    basis: Basis,
    lines: Iterable[PromptLine | BadLine],
    folder: str | Path,
    *,
    settings: TraceSettings | None = None,
    prune: bool = True,
    on_graph: Callable[[Graph, Path], None] | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Trace each line into FOLDER/ID.safetensors, and tell what became of it, in order.

    Graphs that the index has already, made from the same prompt, settings, model and dictionary, are skipped. A line
    that cannot be traced fails and the others go on. A line that names targets is traced with those. `prune` also marks
    what carries most of the influence. `on_graph` is told of each graph as it was written, before the index has it;
    `on_progress` as `trace` tells it, for each prompt anew.
    """
    folder, settings = Path(folder), settings or TraceSettings()
    check_fits(basis, model)
    index = _read_index(folder)
    for line in lines:
        if isinstance(line, BadLine):
            yield Outcome(line=line.line, state="failed", error=line.reason)
            continue
        of_line = settings if line.targets is None else replace(settings, targets=line.targets)
        identity = _identity(model, basis, line, of_line, prune)
        known = index.get(line.id, {})
        file = folder / f"{line.id}.safetensors"
        if known.get("settings_hash") == identity and file.is_file():
            yield Outcome(line=line.line, id=line.id, state="skipped", entry=known)
            continue
        graph = _traced_or_failed(model, basis, line, of_line, prune, on_progress)
        if isinstance(graph, Outcome):
            yield graph
            continue
        graph.save(file)
        if on_graph is not None:
            on_graph(graph, file)
        entry = {"id": line.id, "graph": file.name, "settings_hash": identity, **_figures(graph)}
        _append(folder / INDEX, entry)
        yield Outcome(line=line.line, id=line.id, state="traced", entry=entry)


def _traced_or_failed(
    model: LanguageModel,
    basis: Basis,
    line: PromptLine,
    settings: TraceSettings,
    prune: bool,
    on_progress: Progress | None,
) -> Graph | Outcome:
    try:
        graph = trace(model, basis, line.prompt, settings, on_progress=on_progress)
        return graph.prune() if prune else graph
    except (UsageError, OutOfMemory, MemoryError, RuntimeError) as error:
        too_large = is_out_of_memory(error)
        if not too_large and not isinstance(error, UsageError):
            raise
        failed = Outcome(line=line.line, id=line.id, state="failed", error=str(error), is_out_of_memory=too_large)
    if model.device.type == "cuda":
        torch.cuda.empty_cache()  # only now, with the error, do its tensors go
    return failed


def _identity(model: LanguageModel, basis: Basis, line: PromptLine, settings: TraceSettings, prune: bool) -> str:
    """A hash of all that a line's graph depends on."""
    parts = {
        **settings.to_json(),
        "products": str(settings.products),
        "prune": prune,
        "prompt": line.prompt,
        "model": model.hash,
        "dictionary": basis.hash,
        "dtype": str(model.dtype),
        "n_real": basis.n_real(model),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _figures(graph: Graph) -> dict[str, Any]:
    meta = graph.meta
    return {
        "hash": graph.hash,
        "prompt": meta["prompt"],
        "n_tokens": len(meta["tokens"]),
        "targets": meta["targets"],
        "nodes": graph.nodes.count(),
        "edges": graph.n_edges,
        "scores": scores(graph)._asdict(),
        "exactness": meta["exactness"],
        "unexplained_influence": meta["unexplained_influence"],
        "seconds": meta["seconds"],
    }


def _read_index(folder: Path) -> dict[str, dict[str, Any]]:
    """The last line of each id; the file is brought to that where it has more, or a line cut short by a crash."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    entries: dict[str, dict[str, Any]] = {}
    *texts, rest = read_text(path, MOST_BYTES, is_appended=True).split("\n")  # no splitlines: a prompt may hold U+2028
    for text in [*texts, rest]:
        entry = _entry(text)
        if entry is not None:
            entries[entry["id"]] = entry
    if rest or len(entries) < len(texts):
        write_text_whole(path, "".join(_as_line(entry) for entry in entries.values()))
    return entries


def _entry(text: str) -> dict[str, Any] | None:
    """A line of the index; None where it is damaged, and its graph is traced again."""
    try:
        entry = parsed_json(text)
        IndexLine.model_validate(entry)
    except ValueError:  # pydantic's ValidationError is one
        return None
    return entry


def _append(path: Path, entry: dict[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(_as_line(entry))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error


def _as_line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
