"""The causal map: where each hidden variable is computed, shown without any dictionary.

For every variable and every stage of the stream: where a linear probe reads it, and how often exchanging its part of
the stream for another value's makes the model answer as if the variable had the other's value. What that shows is
said against three floors, for a stream holds a variable's *causes* long before anything has been computed:

- the embedding, and `m0`, the stream that attention has gathered before any MLP ran: an exchange there works as well
  where single tokens tell the variable, or the pieces have merely been brought together;
- the bag of tokens, read by the same linear reader on the same held-out cases;
- pushes of the same length in random directions.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.statistics import Share
from silverstain.storage import write_json_whole

FORMAT = "silverstain.causal-map/2"
"""2 has stages, sets of places, parts of stated size and floors; 1 exchanged whole streams at single places."""
NEARLY = 0.15
"""The earliest stage that moves nearly as many answers as the best, but for this share, is where a variable is."""
STAGES_BEFORE_ANY_MLP = 2
"""The embedding and m0."""
MOVES = 0.5
"""An exchange that moves fewer answers than this shows nothing."""

Kind = Literal["computed", "gathered", "output", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """One place of the residual stream: a stage, at the token of a role.

    Attributes:
        probe: Balanced accuracy of a linear reader of the variable, tested on combinations it was not fitted on.
        interchange: Share of pairs that answer with the counterfactual when the whole stream here is the donor's.
        part: The same when the variable's part becomes the donor's value's, with pairs of held-out combinations.
    """

    stage: str
    role: str
    probe: Share
    interchange: Share
    part: Share


@dataclass(frozen=True, kw_only=True)
class PlacesOfStage:
    """The places at one stage that together move most answers, found on other pairs than those reported.

    Attributes:
        roles: One to three of them.
        size: Dimensions of the part exchanged, of all places together.
        part: Share of held-out pairs that answer with the counterfactual when this part is exchanged.
        random: The same with random differences of the same length.
        interchange: The same with the whole stream of these places.
        probe: Balanced accuracy of a linear reader of these places together.
    """

    stage: str
    roles: tuple[str, ...]
    size: int
    part: Share
    random: Share
    interchange: Share
    probe: Share


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a map shows of a variable.

    `computed`: from `stage` on its part moves the answers of held-out pairs, more than at the embedding and at m0, more
    than random pushes, and is read better than from the bag of tokens. `gathered`: at one of these two it does so as
    well. `output`: no stage before the last block's output moves nearly as many answers, or the value is the answer
    itself. `undecided`: the rest.
    """

    kind: Kind
    stage: str
    roles: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class VariableMap:
    """Where one hidden variable is.

    Attributes:
        n_values: How many values it takes in the cases probed; a guess is right once in so many.
        is_answer: Whether the value is another name of the answer: then there is nothing before it to be shown.
        donor_differs: Whether no donor's own answer is the counterfactual. Only then does exchanging a whole stream
            show the variable: else the answer itself would do.
        n_pairs: Held-out pairs that shares of parts are of.
        roles: Names of the prompt's tokens in order, without <bos>; the last decides the answer.
        base, donor, counterfactual: One of the pairs, to read.
        base_right, donor_right: Share of prompts the model answers as the generator does.
        unexchanged: Share of bases that give the counterfactual without any exchange.
        bag_of_tokens: Balanced accuracy of the linear reader on counts of tokens.
        best_look_up: For each role, the balanced accuracy of the best table from its token to the variable, fitted and
            tested on the same cases: a bound on what its embedding tells.
        sites: Every stage with every role, in this order.
        places: The best places of every stage.
    """

    family: str
    variable: str
    form: str
    n_values: int
    is_answer: bool
    donor_differs: bool
    n_pairs: int
    roles: tuple[str, ...]
    base: str
    donor: str
    counterfactual: str
    base_right: Share
    donor_right: Share
    unexchanged: Share
    bag_of_tokens: Share
    best_look_up: Mapping[str, float]
    sites: tuple[Site, ...]
    places: tuple[PlacesOfStage, ...]

    @property
    def name(self) -> str:
        return f"{self.family}: {self.variable} ({self.form})"

    def at(self, stage: str, role: str) -> Site:
        """The site of a stage and a role; one that this variable does not have is a KeyError."""
        found = next((site for site in self.sites if (site.stage, site.role) == (stage, role)), None)
        if found is None:
            stages = ", ".join(places.stage for places in self.places)
            raise KeyError(f"{self.name} has no {role!r} at {stage!r}; it has {', '.join(self.roles)} at {stages}")
        return found

    def places_at(self, stage: str) -> PlacesOfStage:
        return next(places for places in self.places if places.stage == stage)

    def carried_from(self, role: str, elsewhere: float = 0.1) -> str | None:
        """The earliest stage at which the whole stream of this one place moves most answers, and that of no place
        before it more than a share: what stands behind it need not look further back. None where there is none."""
        before = self.roles[: self.roles.index(role)]
        for places in self.places:
            moved = {one: self.at(places.stage, one).interchange.value for one in (*before, role)}
            if moved.pop(role) >= MOVES and max(moved.values(), default=0.0) <= elsewhere:
                return places.stage
        return None

    @property
    def best(self) -> PlacesOfStage:
        """The earliest stage whose places move nearly as many answers as any stage's."""
        most = max(places.part.value for places in self.places)
        return next(places for places in self.places if places.part.value >= most - NEARLY)

    @property
    def before_any_mlp(self) -> PlacesOfStage:
        """The embedding's places or those of m0, whichever move more answers: nothing can have been computed there."""
        return max(self.places[:STAGES_BEFORE_ANY_MLP], key=lambda places: places.part.value)

    @cached_property
    def verdict(self) -> Verdict:
        """What all of it shows."""
        gathered, last, best = self.before_any_mlp, self.places[-1], self.best
        if best.part.value < MOVES:
            return self._undecided(best, f"no part moves {100 * MOVES:.0f} % of the answers")
        if gathered.part.value >= MOVES and gathered.part.high >= best.part.low:
            return self._verdict("gathered", gathered, f"at {gathered.stage}, before any MLP, it moves as many answers")
        if self.is_answer:
            return self._verdict("output", best, "its value is the answer")
        behind = [
            places for places in self.places[STAGES_BEFORE_ANY_MLP:] if places.part.value >= best.part.value - NEARLY
        ]
        above = [places for places in behind if places.part.low > max(gathered.part.high, places.random.high)]
        if not above:
            return self._undecided(best, "no stage behind an MLP is above those before it and random pushes")
        if above[0] is last:
            return self._verdict("output", last, "no stage before the last block's output moves nearly as many answers")
        read = [places for places in above if places.probe.low > self.bag_of_tokens.high]
        if not read:
            return self._undecided(above[0], "a bag of tokens tells it as well")
        return self._verdict("computed", read[0], "above what precedes every MLP, random pushes and the bag of tokens")

    def _verdict(self, kind: Kind, places: PlacesOfStage, reason: str) -> Verdict:
        return Verdict(kind=kind, stage=places.stage, roles=places.roles, reason=reason)

    def _undecided(self, places: PlacesOfStage, reason: str) -> Verdict:
        return self._verdict("undecided", places, reason)


@dataclass(frozen=True, kw_only=True)
class CausalMap:
    """The map of one model: about `n` pairs a variable, drawn by `seed`."""

    model_hash: str
    n: int
    seed: int
    variables: tuple[VariableMap, ...]

    def of(self, family: str, variable: str, form: str | None = None) -> VariableMap:
        """A variable's map; the first form where none is given."""
        for found in self.variables:
            if (found.family, found.variable) == (family, variable) and form in (None, found.form):
                return found
        raise KeyError(f"no {family}: {variable} ({form}) in this causal map")

    def save(self, path: str | Path) -> None:
        write_json_whole(path, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> "CausalMap":
        from silverstain.validation import validated

        again = "measure it again: silverstain organism check --identifiability"
        found = validated(cls, read_json(path, FORMAT), path, again)
        for one in found.variables:
            whole = len(one.places) * len(one.roles)
            if not one.roles or not one.places or len(one.sites) != whole:
                raise UsageError(f"{path} is not a whole causal map: {one.name} lacks sites; {again}")
        return found
