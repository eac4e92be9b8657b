"""An unfinished run on disk: one file, written whole or not at all, and all that is needed to go on exactly.

Randomness needs no state: every draw has a generator seeded by the run's seed and the step. The data's place is the
number of batches drawn, so an iterator that repeats itself from the same seed is passed over to the same place.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from silverstain.errors import UsageError
from silverstain.storage import read_tensors, save_tensors_whole
from silverstain.training.config import TrainingConfig

FORMAT = "silverstain.training-checkpoint/3"
"""3 names the optimiser's moments by their parameter; before, by its number."""
FILE = "checkpoint.safetensors"
FREE = ("threads", "checkpoint_minutes", "stored_dtype", "lr", "finetune_lr")
"""Settings that may differ between the runs before and after an interruption; the learning rates so that a run that
diverged can go on from its last good checkpoint."""

Read = Callable[[Path], tuple[dict[str, Tensor], dict[str, str]]]


def write_checkpoint(
    folder: Path, tensors: dict[str, Tensor], state: dict[str, Any], config: TrainingConfig, model_hash: str
) -> None:
    """Replace the folder's checkpoint."""
    header = {"format": FORMAT, "state": state, "config": config.to_json(), "model_hash": model_hash}
    save_tensors_whole(folder / FILE, tensors, {"silverstain": json.dumps(header)})


def read_checkpoint(
    folder: Path, config: TrainingConfig, model_hash: str, *, read: Read = read_tensors
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the folder's unfinished run, if there is one; UsageError if it is another run's.

    `read` may leave out of the tensors what another process has.
    """
    path = folder / FILE
    if not path.exists():
        return None
    tensors, metadata = read(path)
    header = json.loads(metadata.get("silverstain", "{}"))
    _check_format(path, header.get("format"))
    if header["model_hash"] != model_hash:
        raise UsageError(
            f"{path} is of a run on another model (hash {header['model_hash']}, this one has {model_hash}); "
            "delete it or train into another folder"
        )
    ours = json.loads(json.dumps(config.to_json()))
    changed = [
        f"{name} was {header['config'].get(name)!r} and is {value!r}"
        for name, value in ours.items()
        if name not in FREE and header["config"].get(name) != value
    ]
    if changed:
        raise UsageError(
            f"{path} is of a run with other settings ({'; '.join(changed)}); "
            "resume with the same ones, delete it, or train into another folder"
        )
    # in memory of torch's own: in the file tensors lie askew, and products of such may round otherwise
    return {name: tensor.clone() for name, tensor in tensors.items()}, header["state"]


def _check_format(path: Path, seen: object) -> None:
    """UsageError for a checkpoint of another version, or for a file that is none."""
    name, _, ours = FORMAT.rpartition("/")
    if seen == FORMAT:
        return
    if str(seen).startswith(f"{name}/"):
        version = str(seen).removeprefix(f"{name}/")
        raise UsageError(
            f"{path} is a checkpoint of another version of Silverstain (format {version}, this one has {ours}) and "
            "cannot be gone on with; finish the run with that version, or delete the file to begin anew"
        )
    raise UsageError(f"{path} is not a {FORMAT} file; delete it or train into another folder")
