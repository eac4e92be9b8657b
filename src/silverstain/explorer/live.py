"""The models that the page may run: each loaded once, when it is first asked for, and kept.

All of it is called from the one thread that works (`jobs`). A page names a model by the name it is offered under, so
no page can have a file loaded that the person who started the server did not name.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.errors import UsageError
from silverstain.known_models import KNOWN_MODELS, is_kept
from silverstain.printable import printable
from silverstain.references import NEURONS, ORGANISM, ORGANISM_DICTIONARIES, is_organism

if TYPE_CHECKING:
    from silverstain.graphs import Graph
    from silverstain.loading import ReplacementModel

MOST_KEPT = 3
"""Models in memory at a time."""
MOST_RUNS = 4
"""Runs of graphs that are kept, so that the next edit begins at once."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A model and what it is read in, under the name that the page has for them."""

    name: str
    model: str
    dictionary: str | None
    about: str


def offers_here(model: str | None = None, dictionary: str | None = None) -> tuple[Offer, ...]:
    """What can be traced: the model that the person named, the organism, and the known models that are here."""
    found = [
        Offer(
            name=ORGANISM,
            model=ORGANISM,
            dictionary=ORGANISM_DICTIONARIES[0],
            about="small, answers in a second",
        )
    ]
    found += [
        Offer(name=name, model=name, dictionary=NEURONS, about=f"{known.about}, in its own neurons")
        for name, known in KNOWN_MODELS.items()
        if is_kept(name)
    ]
    if model is not None and (model, dictionary) not in {(one.model, one.dictionary) for one in found}:
        kind = dictionary or (_kind_of(model) if is_organism(model) else NEURONS)
        name = f"{Path(model).name} · {Path(kind).name}"
        found.insert(0, Offer(name=name, model=model, dictionary=kind, about=f"{printable(model, 80)} in {kind}"))
    return tuple(found)


def _kind_of(organism: str) -> str:
    from silverstain.loading import dictionary_of_organism

    return dictionary_of_organism(organism).name


class Live:
    """Models in memory, and the runs of graphs that were worked on last."""

    def __init__(self, offers: Sequence[Offer] | None = None) -> None:
        self._offers = offers
        self._models: OrderedDict[tuple[str, str | None], ReplacementModel] = OrderedDict()
        self._runs: OrderedDict[tuple[str, str], Any] = OrderedDict()

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Looked up anew each time: a model may have been fetched meanwhile."""
        return offers_here() if self._offers is None else tuple(self._offers)

    def offer(self, name: str) -> Offer:
        """What goes by a name; UsageError with the names there are."""
        for one in self.offers:
            if one.name == name:
                return one
        there = ", ".join(one.name for one in self.offers)
        raise UsageError(f"this server has no model {printable(name, 80)!r}; it has {there}")

    def model(self, offer: Offer, say: Callable[[str], None] = lambda phase: None) -> "ReplacementModel":
        """The model of an offer, loaded if it is not here yet; `say` is told so."""
        return self._loaded(offer.model, offer.dictionary, say)

    def model_of(self, graph: "Graph", say: Callable[[str], None] = lambda phase: None) -> "ReplacementModel":
        """The model that a graph is of; UsageError where this server does not have it."""
        name, kind = (str((graph.meta.get(what) or {}).get("name") or "") for what in ("model", "dictionary"))
        for one in self.offers:
            if name in (one.model, Path(one.model).name) and kind in (one.dictionary, Path(one.dictionary or "").name):
                return self._loaded(one.model, one.dictionary, say)
        if is_organism(name) and kind in (*ORGANISM_DICTIONARIES, NEURONS):
            return self._loaded(name, kind, say)
        raise UsageError(
            f"this graph is of the model {printable(name or 'of unknown name', 80)} in {printable(kind or '?', 80)}, "
            "which this server does not have; start it with them: silverstain explore FOLDER --model MODEL "
            "--dictionary DICTIONARY"
        )

    def kept(self, kind: str, graph: "Graph", make: Callable[[], Any]) -> Any:
        """What was made of a graph for this kind of work, made again only where it is not kept."""
        key = (kind, graph.hash)
        if key not in self._runs:
            self._runs[key] = make()
        self._runs.move_to_end(key)
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
        return self._runs[key]

    def _loaded(self, model: str, dictionary: str | None, say: Callable[[str], None]) -> "ReplacementModel":
        key = (f"{ORGANISM}/general" if model == ORGANISM else model, dictionary)
        if key not in self._models:
            say(f"loading {model}")
            from silverstain.loading import load

            self._models[key] = load(model, dictionary=dictionary)
        self._models.move_to_end(key)
        while len(self._models) > MOST_KEPT:
            self._models.popitem(last=False)
        return self._models[key]
