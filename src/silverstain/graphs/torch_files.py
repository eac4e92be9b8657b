"""Graphs of circuit-tracer: `.pt` files, read without running anything that is in them.

torch reads such a file with an unpickler that builds tensors and plain containers only (see `torch_pickles`); beside
those, two classes of circuit-tracer are known here, by stand-ins that hold values and do nothing.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from silverstain.errors import UsageError, is_out_of_memory
from silverstain.graphs.graph import Graph
from silverstain.graphs.kinds import BIAS
from silverstain.graphs.meta import token_names
from silverstain.graphs.node_order import NodeLayout, node_table
from silverstain.graphs.nodes import NodeTable
from silverstain.graphs.places import LARGEST_NUMBER, MOST_LAYERS, check_places
from silverstain.parts import shown_path
from silverstain.storage import broken_file, check_is_file
from silverstain.torch_pickles import load_pickled, plain_tensor
from silverstain.validation import LARGEST, FromOutside, ShortText, validated


class LogitTarget(NamedTuple):
    """Stands in for circuit-tracer's class of this name."""

    token_str: str
    vocab_idx: int


class Config:
    """Stands in for the settings of a model: holds what is read into it."""


KNOWN = {
    "circuit_tracer.attribution.targets.LogitTarget": LogitTarget,
    "circuit_tracer.utils.tl_nnsight_mapping.UnifiedConfig": Config,
    # what graphs before version 0.4 hold in its place
    "transformer_lens.HookedTransformerConfig.HookedTransformerConfig": Config,
    "transformer_lens.config.HookedTransformerConfig.HookedTransformerConfig": Config,
}
TENSORS = (
    "input_tokens", "adjacency_matrix", "active_features", "activation_values", "selected_features",
    "logit_probabilities",
)  # fmt: skip


class ConfigFile(FromOutside):
    """What is read of a model's settings."""

    n_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)]
    d_vocab: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    model_name: ShortText | None = None
    tokenizer_name: ShortText | None = None


class TargetFile(FromOutside):
    token_str: ShortText
    vocab_idx: Annotated[int, Field(ge=0, le=LARGEST)]


class TorchFile(FromOutside):
    """All but the tensors. Targets were a tensor of ids called logit_tokens until February 2026."""

    cfg: ConfigFile
    targets: list[TargetFile]
    vocab_size: Annotated[int, Field(ge=1, le=LARGEST)]
    """Ids from here on stand for targets that are no token."""
    input_string: str | None = None
    scan: ShortText | list[ShortText] | None = None


def read_torch_graph(path: str | Path) -> Graph:
    """A circuit-tracer graph; UsageError if it is none, is damaged, or would run code.

    Its rows have no bias nodes and do not add up to the targets' values, which it does not say: they are NaN. Leading
    positions without features and errors, which it leaves out of its graphs, have no error nodes here.
    """
    path = Path(path)
    check_is_file(path)
    content = _load(path)
    needed = {*TENSORS, "cfg"}
    missing = sorted(needed - content.keys()) if isinstance(content, Mapping) else sorted(needed)
    if not missing and not {"logit_targets", "logit_tokens"} & content.keys():
        missing = ["logit_targets"]
    if missing:
        raise UsageError(
            f"{shown_path(path)} is no graph of circuit-tracer: it holds other things, and lacks {', '.join(missing)}; "
            "give a file its `to_pt` wrote"
        )
    try:
        tensors = {name: plain_tensor(content[name], name) for name in TENSORS}
        return _graph(tensors, validated(TorchFile, _plain(content), path))
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise broken_file(path, error) from error


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # about the version of the pickle
            return load_pickled(path, KNOWN)
    except UsageError:
        raise
    except Exception as error:  # a damaged pickle may raise anything, or ask for more memory than there is
        reason = re.split(r"[\n.]", str(error).strip())[0]
        raise broken_file(path, ValueError(reason or type(error).__name__)) from error


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """All but the tensors as JSON would have it."""
    settings, vocabulary = getattr(content["cfg"], "__dict__", {}), content.get("vocab_size")
    given = content["logit_targets"] if "logit_targets" in content else content["logit_tokens"]
    vocabulary = settings.get("d_vocab") if vocabulary is None else vocabulary
    if isinstance(given, Tensor):  # early versions kept the ids alone, which were all of tokens
        targets = [{"token_str": "", "vocab_idx": token} for token in _numbers(given, "the targets").tolist()]
    else:
        targets = [
            {"token_str": target[0], "vocab_idx": target[1]}
            if isinstance(target, tuple) and len(target) == 2
            else target
            for target in (given if isinstance(given, list | tuple) else [given])
        ]
    return {
        "cfg": settings,
        "targets": targets,
        "vocab_size": LARGEST if vocabulary is None and isinstance(given, Tensor) else vocabulary,
        "input_string": content.get("input_string"),
        "scan": content.get("scan"),
    }


def _numbers(tensor: Tensor, what: str, n_dimensions: int = 1) -> Tensor:
    """Whole numbers from 0 that fit 32 bits, in 64; ValueError for others."""
    plain_tensor(tensor, what)
    if tensor.dim() != n_dimensions or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{what} is {tensor.dtype} of shape {list(tensor.shape)}, whole numbers were expected")
    if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) <= LARGEST:
        raise ValueError(f"a number of {what} is negative or larger than {LARGEST}")
    return tensor.long()


def _finite(tensor: Tensor, what: str, n: int) -> Tensor:
    """`n` finite numbers in 32 bits; ValueError for others."""
    if tuple(tensor.shape) != (n,) or not tensor.is_floating_point():
        raise ValueError(f"{what} is {tensor.dtype} of shape {list(tensor.shape)}, {n} numbers were expected")
    numbers = tensor.float()
    if not bool((numbers.abs() <= LARGEST_NUMBER).all()):
        raise ValueError(f"a number of {what} is NaN or infinite")
    return numbers


def _graph(tensors: Mapping[str, Tensor], said: TorchFile) -> Graph:
    active = _numbers(tensors["active_features"], "active_features", 2)
    selected, order = _in_our_order(active, _numbers(tensors["selected_features"], "selected_features"))
    chosen, tokens = active[selected], _numbers(tensors["input_tokens"], "input_tokens")
    n_layers, n_positions, targets = said.cfg.n_layers, len(tokens), said.targets
    _check_within(chosen[:, 0], n_layers, "layer")
    _check_within(chosen[:, 1], n_positions, "position")
    size = len(chosen) + n_layers * n_positions + n_positions + len(targets)
    adjacency = tensors["adjacency_matrix"]
    if tuple(adjacency.shape) != (size, size) or not adjacency.is_floating_point():
        raise ValueError(f"its matrix is {list(adjacency.shape)} where its nodes are {size}")
    if not bool(adjacency.isfinite().all()):
        raise ValueError("an edge is NaN or infinite")
    probabilities = _finite(tensors["logit_probabilities"], "logit_probabilities", len(targets))
    if bool((probabilities < 0).any()):
        raise ValueError("the probability of a target is negative")

    errors = adjacency[:, len(chosen) : len(chosen) + n_layers * n_positions].any(dim=0).view(n_layers, n_positions)
    n_real = _n_empty_leading(~errors.any(dim=0), chosen[:, 1])
    layout = NodeLayout(
        n_features=len(chosen), n_layers=n_layers, n_positions=n_positions, n_logits=len(targets), n_real=n_real
    )
    activation = _finite(tensors["activation_values"], "activation_values", len(active))
    nodes = node_table(
        layout,
        layer=chosen[:, 0],
        position=chosen[:, 1],
        feature=chosen[:, 2],
        activation=activation[selected],
        token_ids=tokens,
        target_ids=[target.vocab_idx if target.vocab_idx < said.vocab_size else -1 for target in targets],
        target_probabilities=probabilities,
        target_position=n_positions - 1,
    )
    nodes = without_biases(nodes)
    check_places(nodes, n_positions=n_positions, n_targets=len(targets))
    # in the file: features, errors by (layer, position), tokens, logits; ours lacks errors of empty leading positions
    kept_errors = torch.arange(n_layers * n_positions).view(n_layers, n_positions)[:, n_real:].flatten()
    in_file = torch.cat([order, len(chosen) + kept_errors, torch.arange(len(chosen) + n_layers * n_positions, size)])
    row_nodes = (nodes.is_kind("feature", "logit")).nonzero().flatten()
    rows = adjacency[in_file[row_nodes]][:, in_file].float()
    if not bool(rows.isfinite().all()):
        raise ValueError(f"an edge is larger than {LARGEST_NUMBER:.2g}")
    return Graph.from_rows(
        nodes=nodes,
        row_nodes=row_nodes,
        rows=rows,
        values_of_targets=torch.full((len(row_nodes),), float("nan")),
        meta=_meta(said, nodes, n_active=len(active)),
    )


def _check_within(numbers: Tensor, size: int, what: str) -> None:
    if len(numbers) and int(numbers.max()) >= size:
        raise ValueError(f"a feature is at a {what} outside the {size} there are")


def _in_our_order(active: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """The selected features by (layer, position, feature), and which of those selected each is."""
    if active.shape[1] != 3 or (len(selected) and int(selected.max()) >= len(active)):
        raise ValueError(f"selected_features does not fit active_features, which are {list(active.shape)}")
    places = [tuple(place) for place in active[selected].tolist()]
    order = torch.tensor(sorted(range(len(places)), key=places.__getitem__), dtype=torch.long)
    return selected[order], order


def _n_empty_leading(is_empty: Tensor, positions: Tensor) -> int:
    """How many of the first positions have neither features nor errors."""
    empty = is_empty.clone()
    empty[positions] = False
    return int(empty.long().cumprod(0).sum())


def _meta(said: TorchFile, nodes: NodeTable, n_active: int) -> dict[str, Any]:
    tokens = nodes.token[nodes.span("token")].tolist()
    weights = nodes.activation[nodes.span("logit")].tolist()
    ids = nodes.token[nodes.span("logit")].tolist()
    scan = said.scan if isinstance(said.scan, str) else ", ".join(said.scan or ())
    return {
        "prompt": said.input_string or "",
        "tokens": token_names(tokens),  # the file has no texts of tokens
        "token_ids": tokens,
        "targets": _told(said.targets, ids, weights),
        "model": {"name": said.cfg.model_name or said.cfg.tokenizer_name or "unknown"},
        "dictionary": {"name": scan or "unknown"},
        "active_features": n_active,
        "imported": {"from": "circuit-tracer .pt"},
    }


def _told(targets: Sequence[TargetFile], ids: Sequence[int], weights: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"kind": "token", "name": target.token_str or f"#{token}", "token": target.token_str, "id": token,
         "probability": weight}
        if token >= 0
        else {"kind": "direction", "name": target.token_str or "direction", "weight": weight}
        for target, token, weight in zip(targets, ids, weights, strict=True)
    ]  # fmt: skip


def without_biases(nodes: NodeTable) -> NodeTable:
    """The table of a tool that has no bias nodes."""
    kept = nodes.kind != BIAS
    columns = ("kind", "layer", "position", "feature", "token", "activation")
    return NodeTable(**{name: getattr(nodes, name)[kept] for name in columns})
