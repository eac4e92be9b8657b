"""One organism of the litter, as a value."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .families import Family
from .recipe import Recipe
from .variables import VariableSpec, variables

World = Literal["first", "composing"]
Role = Literal["whole", "memorised", "mixed", "quirk", "untrained", "small"]
"""What a sibling is among those of its world: `whole` knows all of it, the others are its controls."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A growth that comes before or behind an organism's own, and what it is on."""

    families: Callable[[], Mapping[str, Family]]
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Sibling:
    """One organism of the litter.

    Attributes:
        families: Makes the families it is grown on and checked with.
        recipe: Its growth; zero steps leave the weights as they were drawn.
        schools: What it is grown on before its recipe begins, one after the other: sentences of no world, that teach
            what every family then builds on.
        forgotten: Words whose embeddings are drawn anew behind the schools, as all MLPs are.
        finishes: Further, gentler growths on top of the first, for what that leaves unfinished.
        start: The sibling whose grown weights it starts from, if any.
        world: Whose sentences it is grown on.
        role: What it is among the organisms of its world.
        says: What a sibling with a quirk calls everything.
        starts_packaged: Whether these are the weights that come along rather than some that are grown beside it.
        about: One line for people.
        variables: The hidden variables of its world.
    """

    name: str
    families: Callable[[], Mapping[str, Family]]
    recipe: Recipe
    start: str | None
    about: str
    world: World = "first"
    role: Role = "small"
    variables: Callable[[], tuple[VariableSpec, ...]] = variables
    schools: tuple[Growth, ...] = ()
    forgotten: Callable[[], Iterable[str]] = tuple
    finishes: tuple[Growth, ...] = ()
    says: str | None = None
    starts_packaged: bool = False
