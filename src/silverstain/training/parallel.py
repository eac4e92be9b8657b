"""Several processes that train one dictionary: how they come together, what they read, and what they keep.

Each process harvests its share of every pool's batches and keeps those rows; a step's rows stay where they are (shared
by rows) or are handed round (by features). The checkpoint is the same file that one process writes: the first process
gathers it, tensor by tensor, so a run can go on with another number of processes, or in another way of sharing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases.substitutes import Activity, Substitute
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, TokenBatch
from silverstain.storage import broken_file, check_is_file
from silverstain.training.batches import Activations, Source, harvest_rows
from silverstain.training.cache import ActivationCache
from silverstain.training.config import TrainingConfig
from silverstain.training.pool import Pool
from silverstain.training.products import HarvestInBfloat16, Products
from silverstain.training.team import ALONE, ByFeatures, ByRows, Team, feature_axis, gathered
from silverstain.training.weights import Weights

SHARDS = ("data", "features")
ROWS_A_PROCESS = 32
"""At least so many rows a step and process, lest one have none."""


@contextmanager
def joined_processes(device: str = "cpu") -> Iterator[tuple[int, str]]:
    """Join the processes that torchrun started, if it did; the number of this one, and its device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    try:
        yield dist.get_rank(), device
    finally:
        dist.destroy_process_group()


def team_for(shard: str | None, config: TrainingConfig, device: torch.device | str = "cpu") -> Team:
    """The team of the processes there are; UsageError for what they cannot do together."""
    if shard is not None and shard not in SHARDS:
        raise UsageError(f"what processes share is {' or '.join(SHARDS)}, got {shard!r}; give one of them")
    size = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if size == 1:
        return ALONE
    if shard is None:
        raise UsageError(f"{size} processes train into one folder; say with shard what they share, data or features")
    if config.response_weight:
        raise UsageError(
            f"response_weight is {config.response_weight:g}, which moves features of sequences that one process holds "
            f"whole, and there are {size}; start one, or leave response_weight out"
        )
    if shard == "features":
        _check_features(config, size)
        return ByFeatures(device)
    if config.jacobian_weight:
        raise UsageError(
            f"jacobian_weight is {config.jacobian_weight:g}, which pairs tokens of different processes when they share "
            "the data; share the features, or leave jacobian_weight out"
        )
    if config.rows < ROWS_A_PROCESS * size:
        raise UsageError(
            f"a step has {config.rows} rows for {size} processes; raise rows to {ROWS_A_PROCESS * size} or start fewer"
        )
    return ByRows(device)


def _check_features(config: TrainingConfig, size: int) -> None:
    if config.kind == "molt":
        raise UsageError("the transforms of molt have unlike ranks and are not cut into parts; share the data")
    if config.n_features % size:
        raise UsageError(
            f"{config.n_features} features a layer cannot be cut into {size} equal parts; "
            "make n_features a multiple of the number of processes"
        )


class Agreement:
    """Ctrl-C in one process is Ctrl-C in all, at the same place: called at the same places in all of them."""

    def __init__(self, team: Team, check: Callable[[], None]) -> None:
        self._team, self._check = team, check
        self._is_noted = False

    def __call__(self) -> None:
        with self.noting():
            self._check()
        if self._team.any(self._is_noted):
            raise KeyboardInterrupt

    @contextmanager
    def noting(self) -> Iterator[None]:
        """A KeyboardInterrupt inside is raised at the next call, in all processes."""
        try:
            yield
        except KeyboardInterrupt:
            self._is_noted = True


# what is read


@dataclass(frozen=True, kw_only=True)
class PartOfRows(Activations):
    """The rows of a step that one process has."""

    places: tuple[Int[Tensor, " own"], ...]
    """Which of the step's rows each process has."""


@dataclass(frozen=True, kw_only=True)
class SharedActivations(Activations):
    """Rows of which each process holds some: `inputs` and `outputs` are its own."""

    team: Team
    owner: Int[Tensor, " row"]
    """The process that holds each row."""
    place: Int[Tensor, " row"]
    """Where among its own rows."""

    @property
    def n_rows(self) -> int:
        return len(self.owner)

    def row_mean(self, values: Float[Tensor, "layer row *rest"]) -> Float[Tensor, "layer *rest"]:
        count = self.team.over_all(torch.tensor(values.shape[1], device=values.device))
        return self.team.over_all(values.sum(1)) / count

    def of_all_rows(self, values: Float[Tensor, "layer row"]) -> Float[Tensor, "layer every"]:
        counts = torch.bincount(self.owner, minlength=self.team.size).tolist()
        return torch.cat(gathered(values.T.contiguous(), counts)).T

    def part(self, index: Int[Tensor, " chosen"]) -> Activations:
        return self.rows(index) if self.team.holds_all_rows else self._own(index)

    def rows(self, index: Int[Tensor, " chosen"]) -> Activations:
        own = self._own(index)
        # a row of layers beside each other, inputs before outputs
        rows = torch.cat([own.inputs, own.outputs]).transpose(0, 1)
        whole = rows.new_empty(len(index), *rows.shape[1:])
        for places, part in zip(own.places, gathered(rows, [len(p) for p in own.places]), strict=True):
            whole[places] = part
        inputs, outputs = whole.transpose(0, 1).contiguous().chunk(2)
        return Activations(inputs=inputs, outputs=outputs)

    def _own(self, index: Int[Tensor, " chosen"]) -> PartOfRows:
        owners = self.owner[index]
        places = tuple((owners == rank).nonzero().view(-1) for rank in range(self.team.size))
        own = self.place[index[places[self.team.rank]]].to(self.inputs.device)
        inputs, outputs = (rows.index_select(1, own) for rows in (self.inputs, self.outputs))
        places = tuple(p.to(self.inputs.device) for p in places)
        return PartOfRows(inputs=inputs, outputs=outputs, places=places)


class SharedPool(Pool):
    """A pool of which each process harvests and holds its share; the same rows, in the same order, as one's pool."""

    def __init__(self, model: LanguageModel, source: Source, n_rows: int, *, team: Team, n_parts: int = 1) -> None:
        super().__init__(model, source, n_rows, n_parts=n_parts)
        self._team = team
        self._parts: dict[int, SharedActivations] = {}

    def release(self) -> None:
        super().release()
        self._parts = {}

    def _fill(self, fill: int, check: Callable[[], None]) -> None:
        """Draw all batches of the fill, and run the model on every so many of them.

        Each process runs the model as often as the others do, if need be once for nothing: a model that is itself in
        shards needs them all.
        """
        size, rank = self._team.size, self._team.rank
        batches = self._batches()
        takes = [take for _, take in batches]
        self._held.discard(fill - self._n_parts)
        part, filled = self._room(sum(takes[rank::size])), 0
        for round_ in range(0, len(batches), size):
            check()
            batch, take = batches[min(round_ + rank, len(batches) - 1)]
            harvested = harvest_rows(self._model, batch)
            if round_ + rank < len(batches):
                for room, rows in ((part.inputs, harvested.inputs), (part.outputs, harvested.outputs)):
                    room[:, filled : filled + take] = rows[:, :take]
                filled += take
        self._parts[fill % self._n_parts] = self._shared(part, takes)
        self._activations = _joined([self._parts[i] for i in sorted(self._parts)])
        self._held.add(fill)
        self._starts[fill + 1] = self._source.n_drawn

    def _batches(self) -> list[tuple[TokenBatch, int]]:
        """The batches of one fill, and how many rows of each are taken."""
        found, left = [], self._size
        while left:
            batch = self._source.draw()
            take = min(batch.n_tokens, left)
            found.append((batch, take))
            left -= take
        return found

    def _room(self, n_rows: int) -> Activations:
        model = self._model
        size = (model.n_layers, n_rows, model.d_model)
        pair = [torch.empty(size, dtype=model.dtype, device=model.device) for _ in range(2)]
        return Activations(inputs=pair[0], outputs=pair[1])

    def _shared(self, part: Activations, takes: list[int]) -> SharedActivations:
        owner = torch.cat([torch.full((take,), number % self._team.size) for number, take in enumerate(takes)])
        place = torch.empty_like(owner)
        for rank in range(self._team.size):
            is_its = owner == rank
            place[is_its] = torch.arange(int(is_its.sum()))
        return SharedActivations(inputs=part.inputs, outputs=part.outputs, team=self._team, owner=owner, place=place)


def pool_of(
    team: Team,
    model: LanguageModel,
    source: Source,
    config: TrainingConfig,
    cache: ActivationCache | None,
    products: Products = "float32",
) -> Pool:
    """The pool that a team draws from; UsageError if it is to be cached by several. What is cached, for other runs as
    well, and what several processes harvest is in float32."""
    if team.size == 1:
        harvest = HarvestInBfloat16(model) if products == "bfloat16" and cache is None else cache
        return Pool(model, source, config.pool_rows, n_parts=config.pool_parts, harvest=harvest)
    if cache is not None:
        raise UsageError(f"a cache of activations is of one process, and there are {team.size}; leave the cache out")
    return SharedPool(model, source, config.pool_rows, team=team, n_parts=config.pool_parts)


def _joined(parts: list[SharedActivations]) -> SharedActivations:
    """Parts of a pool one behind the other."""
    if len(parts) == 1:
        return parts[0]
    team, places = parts[0].team, []
    held = torch.zeros(team.size, dtype=torch.long)
    for part in parts:
        places.append(part.place + held[part.owner])
        held = held + torch.bincount(part.owner, minlength=team.size)
    return SharedActivations(
        inputs=torch.cat([part.inputs for part in parts], dim=1),
        outputs=torch.cat([part.outputs for part in parts], dim=1),
        team=team,
        owner=torch.cat([part.owner for part in parts]),
        place=torch.cat(places),
    )


# what is kept


def read_part(path: Path, team: Team) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What of a checkpoint is this process's, and the file's metadata; no more than that is read."""
    from safetensors import SafetensorError, safe_open

    check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: _part(file, name, team) for name in file.keys()}  # noqa: SIM118
            return found, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise broken_file(path, error) from error


def _part(file: Any, name: str, team: Team) -> Tensor:
    axis = feature_axis(name)
    if team.holds_all_features or axis is None:
        return file.get_tensor(name)
    part = file.get_slice(name)
    n = part.get_shape()[axis]
    first = team.first_feature(n)
    own = slice(first, first + team.n_features(n))
    return (part[own] if axis == 0 else part[:, own]).clone()


class SharedSubstitute(Substitute):
    """A dictionary in training of which each process holds some features, as a substitute for MLPs: to be asked by all
    processes, the same at the same time."""

    def __init__(self, weights: Weights) -> None:
        self._weights, self._team = weights, weights.team
        self.n_layers = weights.n_layers

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self._weights.writes(layer, x, token_ids)

    def activity(self, layer: int, x: Tensor) -> Activity:
        own = self._weights.activity(layer, x)
        (per_row,) = self._team.over_features([own.per_row])
        return Activity(
            per_row=per_row, fired=self._team.all_features(own.fired), amounts=self._team.all_features(own.amounts)
        )

    def decoder_norms(self, layer: int) -> Tensor:
        return self._team.all_features(self._weights.decoder_norms(layer))

    def skip(self, layer: int, x: Tensor) -> Tensor | None:
        return self._weights.skip(layer, x)


def check_seen_by_all(path: Path, team: Team) -> bool:
    """Whether a file is there; UsageError if it is for some processes alone."""
    is_there = path.exists()
    if team.any(is_there) and team.any(not is_there):
        raise UsageError(f"{path} is seen by some of {team.size} processes alone; train into a folder that all share")
    return is_there
