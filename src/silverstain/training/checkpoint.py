"""An unfinished run on disk: one file, written whole or not at all, and all that is needed to go on exactly.

Randomness needs no state: every draw has a generator seeded by the run's seed and the step. The data's place is the
number of batches drawn, so an iterator that repeats itself from the same seed is passed over to the same place.

A checksum covers tensors and header (`sealing`); what the header says is checked before it is believed, and so are
names, shapes and types of the tensors against those of the run that is to go on.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.sealing import TYPES, Header, check_seal, save_sealed
from silverstain.storage import broken_file, read_tensors
from silverstain.training.config import TrainingConfig
from silverstain.training.weights import Scales, meta_weights
from silverstain.validation import Count, Finite, FromOutside, ShortText, validated

FORMAT = "silverstain.training-checkpoint/4"
"""4 has a checksum. 3 names the optimiser's moments by their parameter; before, by its number."""
WITHOUT_SEAL = "silverstain.training-checkpoint/3"
FILE = "checkpoint.safetensors"
FREE = ("threads", "checkpoint_minutes", "stored_dtype", "lr", "finetune_lr", "reseed_until", "products")
"""Settings that may differ between the runs before and after an interruption; the learning rates and the end of
revivals so that a run that diverged can go on from its last good checkpoint. The type of products that a run began with
is part of its state."""
BEFORE = {"skip_starts": "zero", "decoder": "learned"}
"""What settings were before they could be set, for checkpoints that do not name them."""
ADVICE = "delete it to begin anew, or train into another folder"

Read = Callable[[Path], tuple[dict[str, Tensor], dict[str, str]]]


class PoolPlace(FromOutside):
    """Which fills of the pool were begun, and at which batch."""

    fills: list[Count]
    starts: list[Count]


class Calm(FromOutside):
    """`Stability`, whose bests are left out while there are none."""

    steps_far_off: Count = 0
    best_nmse: Finite = float("inf")
    best_kl: Finite = float("inf")


class State(FromOutside):
    """Where a run is."""

    step: Count
    drawn_at: Count
    dead: Annotated[float, Field(ge=0, le=1)]
    products: Literal["float32", "bfloat16"] = "float32"
    pool: PoolPlace
    stability: Calm


class CheckpointHeader(FromOutside):
    """What stands before the tensors."""

    format: ShortText
    model_hash: ShortText
    config: dict[str, Any]
    state: State


def write_checkpoint(
    folder: Path, tensors: dict[str, Tensor], state: dict[str, Any], config: TrainingConfig, model_hash: str
) -> None:
    """Replace the folder's checkpoint."""
    header = {"format": FORMAT, "state": state, "config": config.to_json(), "model_hash": model_hash}
    save_sealed(folder / FILE, tensors, {"silverstain": json.dumps(header)})


def check_checkpoint(folder: Path, config: TrainingConfig, model_hash: str, *, n_layers: int, d_model: int) -> bool:
    """Whether the folder has an unfinished run that can be gone on with; UsageError, naming the file, for one that is
    damaged or another's. Everything but the numbers in its tensors is looked at."""
    path = folder / FILE
    if not path.exists():
        return False
    sealed = check_seal(path)
    header = _header(path, sealed.metadata)
    if header.format == FORMAT:
        check_seal(path, must_have=True)
    _check_same_run(path, header, config, model_hash)
    _check_place(path, header.state, config)
    _check_tensors(path, sealed, config, n_layers=n_layers, d_model=d_model)
    return True


def read_checkpoint(folder: Path, *, read: Read = read_tensors) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint that `check_checkpoint` has looked at; UsageError for weights that are no
    numbers. `read` may leave out of the tensors what another process has."""
    path = folder / FILE
    tensors, metadata = read(path)
    for name, tensor in tensors.items():
        is_looked_at = name.startswith(("weights.", "optimizer.")) and tensor.is_floating_point()
        if is_looked_at and not tensor.isfinite().all():
            raise _damaged(path, f"its tensor {name} holds what is no number")
    # in memory of torch's own: in the file tensors lie askew, and products of such may round otherwise
    state = _header(path, metadata).state.model_dump()
    return {name: tensor.clone() for name, tensor in tensors.items()}, state


def _header(path: Path, metadata: Mapping[str, str]) -> CheckpointHeader:
    try:
        said = parsed_json(metadata.get("silverstain", "{}"))
    except ValueError as error:
        raise broken_file(path, error) from error
    _check_format(path, said.get("format") if isinstance(said, dict) else None)
    return validated(CheckpointHeader, said, path, ADVICE)


def _check_same_run(path: Path, header: CheckpointHeader, config: TrainingConfig, model_hash: str) -> None:
    if header.model_hash != model_hash:
        raise UsageError(
            f"{path} is of a run on another model (hash {printable(header.model_hash, 40)}, this one has "
            f"{model_hash}); delete it or train into another folder"
        )
    ours = json.loads(json.dumps(config.to_json()))
    theirs = BEFORE | header.config
    changed = [
        f"{name} was {printable(repr(theirs.get(name)), 80)} and is {value!r}"
        for name, value in ours.items()
        if name not in FREE and name not in _free_lengths(header.state.step, theirs, ours) and theirs.get(name) != value
    ]
    if changed:
        raise UsageError(
            f"{path} is of a run with other settings ({'; '.join(changed)}); "
            "resume with the same ones, delete it, or train into another folder"
        )


def _free_lengths(step: int, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[str, ...]:
    """The lengths of phases that a run at this step may change: of those that are not over, to an end still ahead. So a
    run can end sooner than was planned, or go on for longer."""
    in_first = step < theirs.get("steps", 0)
    ends = {"steps": step} if in_first else {"finetune_steps": step - ours["steps"]}
    ends = ends | ({"finetune_steps": 0} if in_first else {})
    return tuple(name for name, least in ends.items() if ours[name] >= least)


def _check_place(path: Path, state: State, config: TrainingConfig) -> None:
    """A run is at one of its steps, and has drawn no more batches than it needs tokens: passing over what it has drawn
    would else take forever."""
    fills, starts, harvests = state.pool.fills, state.pool.starts, config.harvests_at(config.steps)
    rows = harvests * config.pool_rows + config.n_steps
    if state.step > config.n_steps:
        raise _damaged(path, f"it is at step {state.step:,} of {config.n_steps:,}")
    if len(fills) != len(starts) or not fills or max(fills) > harvests or starts != sorted(starts):
        raise _damaged(path, "the places of its pool do not fit each other")
    if max(state.drawn_at, *starts) > rows:
        raise _damaged(path, f"it has drawn {max(state.drawn_at, *starts):,} batches for {rows:,} tokens")


def _check_tensors(path: Path, header: Header, config: TrainingConfig, *, n_layers: int, d_model: int) -> None:
    """The tensors are those of such a run."""
    seen = {name: (entry.dtype, list(entry.shape)) for name, entry in header.entries.items()}
    for name, (kinds, shape) in _expected(config, n_layers, d_model, seen).items():
        if name not in seen:
            raise _damaged(path, f"it lacks the tensor {name}")
        dtype, found = seen.pop(name)
        if found != shape or dtype not in kinds:
            wanted = f"{kinds[0]} of shape {shape}"
            raise _damaged(path, f"its tensor {name} is {printable(dtype, 20)} of shape {found}, not {wanted}")
    if seen:
        raise _damaged(path, f"nothing is known of its tensor {printable(min(seen), 80)}")


def _expected(
    config: TrainingConfig, n_layers: int, d_model: int, seen: Mapping[str, Any]
) -> dict[str, tuple[tuple[str, ...], list[int]]]:
    """Types and shape of every tensor by name; of the optimiser's, a parameter has all or none, as the first step
    makes them."""
    weights, floats = meta_weights(config, n_layers=n_layers, d_model=d_model), ("F32", "F64")
    if any(name.startswith("weights.score_share.") for name in seen):  # it began from a dictionary
        weights.make_score_shares()
    found = {f"weights.{name}": (floats, list(tensor.shape)) for name, tensor in weights.state_dict().items()}
    for name, tensor in weights.named_parameters():
        moments = {"step": [], "exp_avg": list(tensor.shape), "exp_avg_sq": list(tensor.shape)}
        if any(f"optimizer.{name}.{moment}" in seen for moment in moments):
            found |= {f"optimizer.{name}.{moment}": (floats, shape) for moment, shape in moments.items()}
    scales = weights.scales
    found |= {f"scales.{name}": (floats, list(getattr(scales, name).shape)) for name in Scales.__dataclass_fields__}
    if "scales.output_cap" not in seen:  # before it was known
        del found["scales.output_cap"]
    size = [n_layers, config.n_features]
    return found | {"dead": ((TYPES[str(torch.bool)],), size), "fired": ((TYPES[str(torch.int64)],), size)}


def _damaged(path: Path, what: str) -> UsageError:
    return UsageError(f"cannot go on from {path}: {what}; {ADVICE}")


def _check_format(path: Path, seen: object) -> None:
    """UsageError for a checkpoint of another version, or for a file that is none."""
    name, _, ours = FORMAT.rpartition("/")
    if seen in (FORMAT, WITHOUT_SEAL):
        return
    if str(seen).startswith(f"{name}/"):
        version = printable(str(seen).removeprefix(f"{name}/"), 40)
        raise UsageError(
            f"{path} is a checkpoint of another version of Silverstain (format {version}, this one has {ours}) and "
            "cannot be gone on with; finish the run with that version, or delete the file to begin anew"
        )
    raise UsageError(f"{path} is not a {FORMAT} file; delete it or train into another folder")
