"""Silverstain shows how a language model computed an answer, and proves it by intervening on the model.

    model = silverstain.load("organism")
    graph = model.trace("the capital of the state containing dallas is")

Importing this package loads nothing heavy: each name below is fetched from its module when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from silverstain.attribution import TraceSettings as TraceSettings
    from silverstain.attribution import trace as trace
    from silverstain.attribution.secant import contrast as contrast
    from silverstain.graphs import Graph as Graph
    from silverstain.interventions import Edit as Edit
    from silverstain.loading import ReplacementModel as ReplacementModel
    from silverstain.loading import load as load
    from silverstain.loading import verify as verify

from silverstain.displays import show_with
from silverstain.errors import SilverstainError as SilverstainError
from silverstain.errors import UsageError as UsageError
from silverstain.fetching import fetched
from silverstain.version import __version__ as __version__

__all__ = [
    "Edit",
    "Graph",
    "ReplacementModel",
    "SilverstainError",
    "TraceSettings",
    "UsageError",
    "__version__",
    "contrast",
    "load",
    "trace",
    "verify",
]


__getattr__ = fetched(
    "silverstain",
    {
        "Edit": "silverstain.interventions",
        "Graph": "silverstain.graphs",
        "ReplacementModel": "silverstain.loading",
        "TraceSettings": "silverstain.attribution",
        "contrast": "silverstain.attribution.secant",
        "load": "silverstain.loading",
        "trace": "silverstain.attribution",
        "verify": "silverstain.loading",
    },
)


def _explored(graph: Any) -> str:
    """A graph in a notebook; loaded when one is shown."""
    from silverstain.explorer import notebook_html

    return notebook_html(graph)


show_with("graph", _explored)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
