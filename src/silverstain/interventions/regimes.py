"""What is held while edits act, and the four ways of doing it that have a name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from silverstain.errors import UsageError

ATTENTION = ("live", "frozen")
BASE = ("clean", "current")
MODES = ("added", "iterative", "constrained", "direct")


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What is held while the edits act."""

    attention: str = "live"
    """frozen: every edited row attends with the patterns of its clean row."""
    base: str = "clean"
    """The activation a change is measured from: the clean run's (changes known before the pass, the same for every
    model they are tried on), or the current one of the edited pass (`set` then holds exactly; circuit-tracer's way)."""
    held_layers: Collection[int] = ()
    """Layers whose MLP output is held at its clean value before the changes are added: the paper's constrained
    patching over a range of layers (it also freezes attention). A dictionary's linear skip still responds."""
    norms: str = "live"
    """frozen: every norm divides an edited row by what it divided the clean row by. With attention frozen and all
    layers held too, the pass is linear in the changes: direct effects, the ones a graph's edges state."""

    def __post_init__(self) -> None:
        for name, choices in (("attention", ATTENTION), ("base", BASE), ("norms", ATTENTION)):
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it is one of {', '.join(choices)}.")
        object.__setattr__(self, "held_layers", tuple(self.held_layers))

    @classmethod
    def of(cls, regime: "Regime | None", changes: Mapping[str, Any], *, n_layers: int) -> "Regime":
        """The regime given, changed where keywords say otherwise; UsageError for layers that are not there."""
        found = replace(regime, **changes) if regime is not None else cls(**changes)
        wrong = [layer for layer in found.held_layers if not 0 <= layer < n_layers]
        if wrong:
            raise UsageError(f"held_layers names {wrong[:5]}, but the model's layers are 0 to {n_layers - 1}.")
        return found


def regime_of(
    mode: str,
    *,
    n_layers: int,
    layers: Collection[int] | None = None,
    attention: str | None = None,
    norms: str | None = None,
) -> Regime:
    """The regime of a named mode.

    added: changes are measured in the clean run and added; all else is computed anew.
    iterative: changes are measured in the edited run itself, so that what is set stays set.
    constrained: `added`, with the MLP outputs of `layers` pinned, so that edits have no second-order effects among
        them; attention is frozen unless said otherwise. What features write past the last of these layers is written.
    direct: every MLP, attention pattern and norm is held: what a graph's edges state.
    """
    if mode not in MODES:
        raise UsageError(f"The mode is {mode!r}; it is one of {', '.join(MODES)}.")
    if (mode == "constrained") != (layers is not None):
        wrong = "needs the layers to hold" if layers is None else "takes no layers"
        raise UsageError(f"The mode {mode} {wrong}; for example mode constrained with layers 1 and 2.")
    if layers is not None and not layers:
        raise UsageError("The mode constrained holds no layer; name some, for example layers 1 and 2.")
    if mode == "direct":
        if "live" in (attention, norms):
            raise UsageError("The mode direct holds attention and norms; for live ones choose constrained or added.")
        return Regime(attention="frozen", norms="frozen", held_layers=tuple(range(n_layers)))
    default = "frozen" if mode == "constrained" else "live"
    return Regime(
        attention=attention or default,
        norms=norms or "live",
        base="current" if mode == "iterative" else "clean",
        held_layers=tuple(sorted(layers)) if layers is not None else (),
    )
