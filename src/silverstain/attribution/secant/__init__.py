"""The exact account of the difference between two real runs, attention, norms and MLPs live: the secant flow.

Every operation of a transformer has a difference that is exactly linear in the differences of its inputs, with
coefficients that both runs together determine. Chained, they make a linear flow whose sum is the real change.
"""

from silverstain.attribution.secant.contrasting import Contrast, contrast, contrast_graph, find_contrast
from silverstain.attribution.secant.flow import Contributions, SecantFlow, secant_flow

__all__ = [
    "Contrast",
    "Contributions",
    "SecantFlow",
    "contrast",
    "contrast_graph",
    "find_contrast",
    "secant_flow",
]
