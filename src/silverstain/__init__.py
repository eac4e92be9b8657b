"""Silverstain shows how a language model computed an answer, and proves it by intervening on the model.

    model = silverstain.load("organism")
    graph = model.trace("the capital of the state containing dallas is")

Importing this package loads nothing heavy: each name below is fetched from its module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from silverstain.attribution import trace as trace
    from silverstain.graphs import Graph as Graph
    from silverstain.interventions import Edit as Edit
    from silverstain.replacement import ReplacementModel as ReplacementModel
    from silverstain.replacement import load as load
    from silverstain.replacement import verify as verify

from silverstain.errors import SilverstainError as SilverstainError
from silverstain.errors import UsageError as UsageError

__version__ = "0.1.0"

# Public name -> the module that defines it.
_HOMES = {
    "Edit": "silverstain.interventions",
    "Graph": "silverstain.graphs",
    "ReplacementModel": "silverstain.replacement",
    "load": "silverstain.replacement",
    "trace": "silverstain.attribution",
    "verify": "silverstain.replacement",
}

__all__ = [
    "Edit",
    "Graph",
    "ReplacementModel",
    "SilverstainError",
    "UsageError",
    "__version__",
    "load",
    "trace",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'silverstain' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
