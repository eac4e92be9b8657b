"""Work on a model that can be stopped between any two operations on tensors, though it knows nothing of that."""

from collections.abc import Callable, Iterable
from typing import Any

from torch.overrides import TorchFunctionMode


class StopsBetweenOperations(TorchFunctionMode):
    """While it is entered, `check` is called before every operation of this thread on tensors, and may raise.

    What raises does so where an operation stands, so `with` and `finally` put everything back as after any error.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self._check()
        return func(*args, **(kwargs or {}))
