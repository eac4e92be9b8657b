"""Who holds what when several processes train one dictionary, and how their sums are taken.

Two ways of sharing the work. By rows: every process holds the whole dictionary and some of each step's tokens, and the
gradients are added up. By features: every process holds some features of every layer and sees all tokens, and what the
features write is added up. Arithmetic stays that of one process; it asks its `Team` where a sum, a threshold or a count
is of more than it holds. `Team` itself is one process: nothing is asked of anybody.

These are plain collectives of torch.distributed rather than DTensors: the sparse kernels work on lists of active
entries, for which DTensor has no rules, and all that ever crosses is a sum, a list of scores, or rows.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.errors import UsageError
from silverstain.models import TokenBatch


class Team:
    """One process, which holds all rows and all features."""

    rank, size = 0, 1
    holds_all_rows = True
    holds_all_features = True

    # which features

    def n_features(self, n_features: int) -> int:
        """How many of a layer's features are this process's."""
        return n_features

    def first_feature(self, n_features: int) -> int:
        """The number of the first of them."""
        return 0

    def own_features(self, whole: Tensor, axis: int = 0) -> Tensor:
        """The part of a tensor that is of this process's features."""
        return whole

    def all_features(self, own: Tensor, axis: int = 0) -> Tensor:
        """A tensor of all features from the parts of all processes, in every process."""
        return own

    def features_on_first(self, own: Tensor, axis: int) -> Tensor:
        """The same, but in the first process alone, and on its CPU; others get anything."""
        return own

    # sums over features

    def copied_to_features(self, x: Tensor) -> Tensor:
        """x, on its way to features of which each process has some: its gradient is the sum of theirs."""
        return x

    def over_features(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The sums of what the features of all processes give; the gradient goes to each process's own part."""
        return list(parts)

    def counted_once(self, x: Tensor) -> Tensor:
        """x, which every process has, made to count once in `over_features`."""
        return x

    def all_columns(self, best: Float[Tensor, "row k"]) -> Float[Tensor, "row more"]:
        """The columns of all processes that hold other features, side by side."""
        return best

    # sums over rows

    def over_rows(self, value: Tensor) -> Tensor:
        """The sum of the processes that hold other rows; without gradient."""
        return value

    def share_of_mean(self, mean: Float[Tensor, "*some"], n_rows: int) -> Float[Tensor, "*some"]:
        """What a mean over this process's rows adds to the mean over all."""
        return mean

    def add_gradients_(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up gradients of processes that hold other rows."""

    def all_rows(self, tensors: list[Float[Tensor, "own *rest"]], rows: Any) -> list[Float[Tensor, "row *rest"]]:
        """The rows of a step in all processes, from those of `rows` in each."""
        return tensors

    # batches of the second phase

    def own_batch(self, batch: TokenBatch) -> TokenBatch:
        """The sequences of a batch that are this process's."""
        return batch

    def own_positions(self, index: Int[Tensor, " row"], batch: TokenBatch) -> Int[Tensor, " own"]:
        """Of flat positions in a batch those in its own sequences, as positions in these."""
        return index

    def own_sequences(self, whole: Tensor, axis: int) -> Tensor:
        return whole

    def all_sequences(self, own: Tensor, batch: TokenBatch, axis: int) -> Tensor:
        """The tensor of all sequences of a batch, in every process."""
        return own

    # sums and lists over everybody

    def over_all(self, counts: Tensor) -> Tensor:
        return counts

    def all_scores(self, scores: list[Float[Tensor, " _"]]) -> list[Float[Tensor, " _"]]:
        """The scores of all processes, in every process."""
        return scores

    def any(self, flag: bool) -> bool:
        """Whether it is so in some process."""
        return flag

    def first_says(self, flag: bool) -> bool:
        """Whether it is so in the first process."""
        return flag

    def align_(self, module: nn.Module) -> None:
        """Give all processes the first one's values of what they share."""

    def on_first(self, work: Callable[[], Any]) -> Any:
        """Do it in the first process while the others wait; its answer is everybody's, and so is its UsageError."""
        return work()


ALONE = Team()


class _Several(Team):
    """What both ways of sharing have in common."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def over_all(self, counts: Tensor) -> Tensor:
        return _sum(counts)

    def any(self, flag: bool) -> bool:
        return bool(_sum(torch.tensor(int(flag), device=self.device)))

    def first_says(self, flag: bool) -> bool:
        said = torch.tensor(int(flag), device=self.device)
        dist.broadcast(said, 0)
        return bool(said)

    def all_scores(self, scores: list[Float[Tensor, " _"]]) -> list[Float[Tensor, " _"]]:
        """Two exchanges, however many layers: how many scores there are, and the scores."""
        counts = torch.tensor([len(score) for score in scores], device=self.device)
        all_counts = [row.tolist() for row in _everybodys(counts)]
        lists = gathered(torch.cat(scores), [sum(row) for row in all_counts])
        split = [part.split(row) for part, row in zip(lists, all_counts, strict=True)]
        return [torch.cat([parts[layer] for parts in split]) for layer in range(len(scores))]

    def on_first(self, work: Callable[[], Any]) -> Any:
        return on_first(work, self.device)

    def align_(self, module: nn.Module) -> None:
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if self.holds_all_features or feature_axis(name) is None:
                dist.broadcast(tensor.data, 0)


class ByRows(_Several):
    """Every process has the whole dictionary and some tokens: data parallel."""

    holds_all_rows = False

    def over_rows(self, value: Tensor) -> Tensor:
        return _sum(value.detach())

    def share_of_mean(self, mean: Float[Tensor, "*some"], n_rows: int) -> Float[Tensor, "*some"]:
        everybodys = int(self.over_rows(torch.tensor(n_rows, device=self.device)))
        # the mean of no rows is no number, and adds nothing
        return (mean if n_rows else mean.nan_to_num(0.0)) * (n_rows / everybodys)

    def add_gradients_(self, parameters: Iterable[nn.Parameter]) -> None:
        waiting = []
        for parameter in parameters:
            if not parameter.requires_grad:  # a skip that does not learn yet, in all processes alike
                continue
            if parameter.grad is None:  # as many sums in every process, whatever its rows needed
                parameter.grad = torch.zeros_like(parameter)
            waiting.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in waiting:
            if work is not None:
                work.wait()

    def all_rows(self, tensors: list[Float[Tensor, "own *rest"]], rows: Any) -> list[Float[Tensor, "row *rest"]]:
        parts = gathered(torch.stack(tensors, dim=1), [len(places) for places in rows.places])
        whole = torch.cat(parts)
        order = torch.cat(list(rows.places)).to(whole.device)
        return list(torch.empty_like(whole).index_copy_(0, order, whole).unbind(1))

    def own_batch(self, batch: TokenBatch) -> TokenBatch:
        n = batch.token_ids.shape[0]
        if n < self.size:
            raise UsageError(
                f"a batch has {n} sequences for {self.size} processes; give larger batches, or share the features"
            )
        part = [None if t is None else self.own_sequences(t, 0) for t in (batch.determined, batch.families)]
        ids, mask = self.own_sequences(batch.token_ids, 0), self.own_sequences(batch.mask, 0)
        return TokenBatch(token_ids=ids, mask=mask, determined=part[0], families=part[1])

    def own_sequences(self, whole: Tensor, axis: int) -> Tensor:
        bounds = self._bounds(whole.shape[axis])
        return whole.narrow(axis, bounds[self.rank], bounds[self.rank + 1] - bounds[self.rank])

    def own_positions(self, index: Int[Tensor, " row"], batch: TokenBatch) -> Int[Tensor, " own"]:
        n, length = batch.token_ids.shape
        low, high = (self._bounds(n)[self.rank + i] * length for i in range(2))
        return index[(index >= low) & (index < high)] - low

    def all_sequences(self, own: Tensor, batch: TokenBatch, axis: int) -> Tensor:
        bounds = self._bounds(batch.token_ids.shape[0])
        counts = [high - low for low, high in pairwise(bounds)]
        return torch.cat(gathered(own.movedim(axis, 0).contiguous(), counts)).movedim(0, axis)

    def _bounds(self, n: int) -> list[int]:
        """Where each process's sequences begin, and where the last one's end."""
        return [n * rank // self.size for rank in range(self.size + 1)]


class ByFeatures(_Several):
    """Every process has some features of every layer and all tokens: tensor parallel."""

    holds_all_features = False

    def n_features(self, n_features: int) -> int:
        return n_features // self.size

    def first_feature(self, n_features: int) -> int:
        return self.rank * self.n_features(n_features)

    def own_features(self, whole: Tensor, axis: int = 0) -> Tensor:
        return whole.chunk(self.size, axis)[self.rank]

    def all_features(self, own: Tensor, axis: int = 0) -> Tensor:
        return torch.cat(_everybodys(own.detach()), axis)

    def features_on_first(self, own: Tensor, axis: int) -> Tensor:
        own = own.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(_bytes_of(own), None if parts is None else [_bytes_of(part) for part in parts])
        return own if parts is None else torch.cat([part.cpu() for part in parts], axis)

    def copied_to_features(self, x: Tensor) -> Tensor:
        return _CopiedToFeatures.apply(x)  # type: ignore[no-any-return]

    def over_features(self, parts: Sequence[Tensor]) -> list[Tensor]:
        return list(_Added.apply(torch.stack(list(parts))).unbind(0))  # type: ignore[union-attr]

    def counted_once(self, x: Tensor) -> Tensor:
        return _CountedOnce.apply(x, self.rank == 0)  # type: ignore[no-any-return]

    def all_columns(self, best: Float[Tensor, "row k"]) -> Float[Tensor, "row more"]:
        return self.all_features(best, 1)


def on_first(work: Callable[[], Any], device: torch.device | str = "cpu") -> Any:
    """Do it in the first process while the others wait; its answer is everybody's, and so is its UsageError."""
    said: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            said[0] = work()
        except UsageError as error:
            said[1] = str(error)
    dist.broadcast_object_list(said, 0, device=torch.device(device))
    answer, error = said
    if error is not None:
        raise UsageError(error)
    return answer


FEATURE_PARAMETERS = ("W_enc.", "b_enc.", "log_threshold.", "score_share.", "decoder.")


def feature_axis(name: str) -> int | None:
    """The axis of features of a tensor of the state, by its name; None for what all features share."""
    if name in ("fired", "dead"):
        return 1
    bare = name.removeprefix("weights.").removeprefix("optimizer.")
    return 0 if bare.startswith(FEATURE_PARAMETERS) and not bare.endswith(".step") else None


def gathered(own: Float[Tensor, "own *rest"], counts: Sequence[int]) -> list[Tensor]:
    """The tensors of all processes, which have `counts` rows."""
    padded = own.new_zeros(max(counts), *own.shape[1:])
    padded[: len(own)] = own
    return [part[:n] for part, n in zip(_everybodys(padded), counts, strict=True)]


def _everybodys(own: Tensor) -> list[Tensor]:
    own = own.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather([_bytes_of(part) for part in parts], _bytes_of(own))
    return parts


def _bytes_of(tensor: Tensor) -> Tensor:
    """Truth values as bytes: not every backend sends them."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor


def _sum(value: Tensor) -> Tensor:
    total = value.clone()
    dist.all_reduce(total)
    return total


class _Added(torch.autograd.Function):
    """Parts of a sum: each process goes on with the sum, and its gradient is each part's."""

    @staticmethod
    def forward(ctx, part):  # type: ignore[no-untyped-def]
        return _sum(part)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad


class _CopiedToFeatures(torch.autograd.Function):
    """What goes to every process's part: the gradients of the parts add up."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _sum(grad.contiguous())


class _CountedOnce(torch.autograd.Function):
    """What every process has, in the first one's sum alone; the gradient of the sum is everybody's."""

    @staticmethod
    def forward(ctx, x, is_first):  # type: ignore[no-untyped-def]
        return x.view_as(x) if is_first else torch.zeros_like(x)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad, None
