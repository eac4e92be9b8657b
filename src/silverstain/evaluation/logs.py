"""Figures sent to TensorBoard's files, and to Weights & Biases where that was asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError


def has_tensorboard() -> bool:
    return find_spec("tensorboard") is not None


class TensorBoardLog:
    """Event files under a folder; what an interrupted run had written beyond its checkpoint is hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        if not has_tensorboard():
            raise UsageError("TensorBoard is not installed; install it (pip install tensorboard) or do without it")
        writer: Any = import_module("torch.utils.tensorboard").SummaryWriter
        self._folder = folder
        with self._one_line():
            self._writer = writer(log_dir=str(folder), purge_step=step)

    def add(self, figures: Mapping[str, float], step: int) -> None:
        with self._one_line():
            for name, value in figures.items():
                self._writer.add_scalar(name.replace(" ", "_"), value, step)
            self._writer.flush()

    def close(self) -> None:
        with self._one_line():
            self._writer.close()

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """A disk that is full, as one line."""
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot write {self._folder}: {error.strerror or error}; make room, and run again to resume"
            ) from error


class WandbLog:
    """One run of a project, gone on with when the folder's run is."""

    def __init__(self, project: str, folder: Path) -> None:
        self._run = imported_wandb().init(project=project, name=folder.name, dir=str(folder), resume="allow")

    def add(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


def imported_wandb() -> Any:
    try:
        return import_module("wandb")
    except ImportError as error:
        raise UsageError("Weights & Biases was asked for and is not installed; pip install wandb") from error
