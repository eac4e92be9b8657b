"""`silverstain train` in several processes, as torchrun starts them: the first one talks and writes."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Share:
    """This process, among those that train together."""

    rank: int = 0
    n_processes: int = 1
    device: str = "cpu"
    shard: str | None = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def observes(self) -> bool:
        """Whether it looks at held-out text: where features are shared, the first process cannot do so alone."""
        return self.is_first or self.shard == "features"

    def on_first(self, work: Callable[[], Any]) -> Any:
        """What `work` gives in the first process, in all of them."""
        if self.n_processes == 1:
            return work()
        from silverstain.training.team import on_first

        return on_first(work, self.device)

    def check(self, *, sweep: str | None) -> None:
        """UsageError for a sweep, which several processes cannot share."""
        if sweep is not None and self.n_processes > 1:
            raise UsageError(f"a sweep is trained by one process, there are {self.n_processes}; train its runs by --l0")

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        """Where this process writes its record: the first in `out`, others in a temporary folder."""
        if self.is_first:
            yield out
            return
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


@contextmanager
def processes(shard: str | None, device: str) -> Iterator[Share]:
    """Join the processes that torchrun started, if it did.

    An error in another process than the first names the process: the first says nothing of it.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_processes == 1:
        if shard is not None and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise UsageError(
                f"--shard {shard} is for several processes, and there is one; "
                "start them with torchrun --nproc-per-node 2 -m silverstain train …"
            )
        yield Share(device=device)
        return
    from silverstain.cli.main import INTERRUPTED
    from silverstain.training.parallel import joined_processes

    with joined_processes(device) as (rank, own_device):
        try:
            yield Share(rank=rank, n_processes=n_processes, device=own_device, shard=shard)
        except KeyboardInterrupt:
            if rank:
                raise SystemExit(INTERRUPTED) from None
            raise
        except UsageError as error:
            if rank:
                raise UsageError(f"(process {rank}) {error}") from None
            raise
