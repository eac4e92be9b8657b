"""Whole files of every kind that silverstain reads, from which damaged ones are made."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.bases.published import WRITERS, Draw
from tests.fuzz.forked import Lines
from torch import Tensor

FORMER = Path(__file__).parents[1] / "former"
PROMPT = ["--token-ids", "0,5,9,13,7,21"]
ON = ["--model", "./model", "--dictionary", "./dict", "--no-check-dictionary"]
FORMATS = (
    "gemma scope 1", "gemma scope 2 cross-layer", "sparsify", "clt-training", "saelens jumprelu", "openmoss jumprelu",
    "openmoss cross-layer", "crosslayer-coding", "CLT-Forge",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A command line that reads files, and which of them are damaged."""

    arguments: tuple[str, ...]
    files: tuple[str, ...]
    """Paths or patterns in the sandbox, at least one of which is there."""
    seconds: float = 2.0
    """What the line may take over its start."""


def _reader(line: str, *files: str, seconds: float = 2.0) -> Reader:
    words = [word for piece in line.split() for word in (ON if piece == "ON" else [piece])]
    words = [word.replace(".t", " t") if word.startswith("t5.") else word for word in words]  # a prompt
    return Reader(arguments=tuple(words), files=files, seconds=seconds)


TRAIN = (
    "train --model ./model --out trained --text texts.jsonl --field prompt --no-check-text --steps 4 --features 8 "
    "--batch 4 --l0 2 --tokens 20 --graphs 0 --context 4 --held-out .3 --set pool_rows=64 --set rows=16"
)
READERS: dict[str, Reader] = {
    "show": _reader("show graph.safetensors", "graph.safetensors"),
    "show, a story": _reader("show graph.safetensors --width 80", "graph.story.json"),
    "show --json": _reader("show graph.safetensors --json", "graph.safetensors", "graph.story.json"),
    "show --out": _reader("show graph.safetensors --out drawn.svg", "graph.safetensors", "graph.story.json"),
    "prune": _reader("prune graph.safetensors --node-share .5 --out o.safetensors", "graph.safetensors"),
    "compare": _reader("compare graph.safetensors other.safetensors", "graph.safetensors"),
    "compare JSON": _reader("compare graph.safetensors graph.json", "graph.json"),
    "verify": _reader(
        "verify graph.safetensors ON --sources 2 --claims 4 --controls 2 --inhibited 1",
        "graph.safetensors",
        "graph.story.json",
    ),
    "import JSON": _reader("import graph.json --out o.safetensors", "graph.json"),
    "import .pt": _reader("import graph.pt --out o.safetensors", "graph.pt"),
    "convert": _reader("convert dict o", "dict/silverstain.json", "dict/config.yaml", "dict/*.safetensors"),
    "convert int8 rows": _reader("convert int8 o", "int8/silverstain.json", "int8/config.yaml", "int8/*.safetensors"),
    "trace, a dictionary": _reader("trace --token-ids 0,5,9 ON", "dict/cards.safetensors", "dict/*"),
    "trace, a model": _reader("trace --token-ids 0,5,9 ON", "model/*"),
    "trace, prompts": _reader("trace --prompts prompts.jsonl --out o ON", "prompts.jsonl"),
    "trace, prompts again": _reader("trace --prompts prompts.jsonl --out traced ON", "traced/*"),
    "trace, a direction": _reader(
        "trace --token-ids 0,5,9 ON --target direction:direction.safetensors", "direction.safetensors"
    ),
    "intervene": _reader("intervene t5.t9.t3.t7.t2 ON --edits edits.json --generate 0 --no-control", "edits.json"),
    "treat bake": _reader("treat bake bakeable.json ON --out o", "bakeable.json"),
    "treat measure": _reader(
        "treat measure treatment.json ON --target items.jsonl --side items.jsonl --no-compare",
        "treatment.json",
        "items.jsonl",
    ),
    "train, text": _reader(TRAIN, "texts.jsonl", seconds=20.0),
    "convert, published": _reader("convert published o", "published/**/*"),
}


def make(base: Path, lines: Lines) -> None:
    """Fill a folder with one whole file of each kind."""
    shutil.copytree(FORMER / "model", base / "model")
    shutil.copytree(FORMER / "dictionary", base / "dict")
    for name in ("cards.safetensors",):
        shutil.copy(FORMER / name, base / "dict" / name)
    for name in ("edits.json", "treatment.json", "graph.safetensors", "graph.story.json"):
        shutil.copy(FORMER / name, base / name)
    _run(lines, base, "convert", "dict", "int8", "--dtype", "int8")
    _run(lines, base, "trace", *PROMPT, *ON, "--out", "other.safetensors")
    _run(lines, base, "verify", "graph.safetensors", *ON, "--sources", "2", "--claims", "4", "--controls", "2")
    _write_json_graph(base)
    _write_torch_graph(base / "graph.pt")
    (base / "prompts.jsonl").write_text('{"prompt": "t5 t9 t3"}\n{"token_ids": [0, 5, 9], "id": "x"}\n')
    (base / "items.jsonl").write_text('{"prompt": "t5 t9", "answer": "t3"}\n{"prompt": "t7 t9", "answer": "t4"}\n' * 40)
    rows = [{"prompt": " ".join(f"t{(i * i + 3 * j) % 9 + 1}" for j in range(4 + i % 3))} for i in range(60)]
    (base / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    edits = json_of(base / "edits.json")
    edits["edits"] = [edit for edit in edits["edits"] if edit.get("op") in ("set", "add")]  # needs nothing to be active
    (base / "edits.json").write_text(json.dumps(edits))
    _write_bakeable(base)
    save_file({"direction": torch.ones(16)}, base / "direction.safetensors")
    _run(lines, base, "trace", "--prompts", "prompts.jsonl", "--out", "traced", *ON)


def _run(lines: Lines, base: Path, *arguments: str) -> None:
    outcome = lines.run(arguments, base)
    assert outcome.code == 0, (arguments, outcome.err)


def _write_json_graph(base: Path) -> None:
    from silverstain.graphs import Graph, Story

    graph = Graph.load(base / "graph.safetensors")
    graph.to_json(base / "graph.json", slug="sample", story=Story.load(base / "graph.story.json"))


def _write_bakeable(base: Path) -> None:
    """A treatment that can be put into weights: a constant, without a condition."""
    from silverstain.bases import open_dictionary
    from silverstain.interventions import DirectionEdit
    from silverstain.models import load_model
    from silverstain.treatment import Rule, treatment_for

    model = load_model(base / "model")
    rule = Rule(edit=DirectionEdit(op="add", layer=2, direction=(0.5,) * model.d_model, value=0.1))
    treatment_for(model, open_dictionary(base / "dict"), [rule], name="x").save(base / "bakeable.json")


def write_published(base: Path, name: str) -> None:
    """A dictionary in a published format, as `published/`."""
    WRITERS[name](base / "published", Draw(0))


class UnifiedConfig:
    """Stands for circuit-tracer's settings, under whose name it is pickled."""

    n_layers = 2


def _write_torch_graph(path: Path) -> None:
    module = "circuit_tracer.utils.tl_nnsight_mapping"
    parts = module.split(".")
    stubs = {".".join(parts[: i + 1]): ModuleType(parts[i]) for i in range(len(parts))}
    before = {name: sys.modules.get(name) for name in stubs}
    sys.modules.update(stubs)
    try:
        UnifiedConfig.__module__ = module
        setattr(sys.modules[module], "UnifiedConfig", UnifiedConfig)  # noqa: B010
        config = UnifiedConfig()
        config.n_layers = 2
        matrix = torch.zeros(15, 15)
        matrix[0, 11], matrix[2, 0], matrix[13, 2] = 0.5, 0.25, 1.5
        content: dict[str, Any] = {
            "input_string": "a b c", "adjacency_matrix": matrix, "cfg": config,
            "active_features": torch.tensor([[0, 1, 5], [0, 2, 7], [1, 1, 3], [1, 2, 9]]),
            "logit_targets": torch.tensor([1, 2]), "logit_probabilities": torch.tensor([0.6, 0.3]), "vocab_size": 10,
            "input_tokens": torch.tensor([0, 1, 2]), "selected_features": torch.arange(4),
            "activation_values": torch.ones(4), "scan": "toy/dictionary",
        }  # fmt: skip
        torch.save(content, path)
    finally:
        for name, module_before in before.items():
            if module_before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module_before


def read_signed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def write_signed(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """A safetensors file whose checksum, where it has one, is right whatever it holds: damage behind the door."""
    from silverstain.graphs.arrays import checksum

    if "checksum" in header:
        header = {**header, "checksum": checksum(tensors, header.get("meta", ""))}
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, metadata=header)


def json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
