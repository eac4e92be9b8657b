"""The causal map: where each hidden variable is computed, shown without any dictionary.

For every variable: what a bag of tokens tells of it, where a linear probe reads it from the residual stream, and where
exchanging the stream for another sentence's makes the model answer as if the variable had the other's value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.statistics import Share
from silverstain.storage import write_json_whole

FORMAT = "silverstain.causal-map/1"
AS_GOOD = 0.02
"""Sites this close to the best are as good; the earliest of them is where the variable is first there."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """One place of the residual stream: after block `layer` (0: the embedding), at the token of a role.

    Attributes:
        probe: Balanced accuracy of a linear reader of the variable, tested on combinations it was not fitted on.
        interchange: Share of pairs that answer with the counterfactual when the stream here is the donor's.
        mean_interchange: The same when only the variable's own part is exchanged: the mean over the cases of the base's
            value, in other combinations than the base's, is replaced by such a mean of the donor's value. It shows
            the variable apart from all that the donor's stream holds besides.
    """

    layer: int
    role: str
    probe: Share
    interchange: Share
    mean_interchange: Share


@dataclass(frozen=True, kw_only=True)
class VariableMap:
    """Where one hidden variable is computed.

    Attributes:
        n_values: How many values it takes in the cases probed; a guess is right once in so many.
        roles: Names of the prompt's tokens in order, without <bos>; the last decides the answer.
        base, donor, counterfactual: One of the pairs, to read.
        base_right, donor_right: Share of prompts the model answers as the generator does.
        unexchanged: Share of bases that give the counterfactual without any exchange.
        bag_of_tokens: Balanced accuracy of the linear reader on counts of tokens.
        best_look_up: For each role, the balanced accuracy of the best table from its token to the variable, fitted and
            tested on the same cases: a bound on what its embedding tells.
        sites: Every layer with every role, in this order.
    """

    family: str
    variable: str
    form: str
    n_values: int
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

    @property
    def name(self) -> str:
        return f"{self.family}: {self.variable} ({self.form})"

    @property
    def n_layers(self) -> int:
        """Layers of the stream, the embedding included."""
        return len(self.sites) // len(self.roles)

    def at(self, layer: int, role: str) -> Site:
        """The site of a layer and a role; a role not of this variable is a KeyError."""
        if role not in self.roles:
            raise KeyError(f"{self.name} has no token {role!r}; it has {', '.join(self.roles)}")
        return self.sites[layer * len(self.roles) + self.roles.index(role)]

    @property
    def one_token(self) -> Site:
        """The embedding that tells most by itself."""
        return max(self.sites[: len(self.roles)], key=lambda site: site.probe.value)

    @property
    def best_probe(self) -> Site:
        return _earliest_best(self.sites, lambda site: site.probe.value)

    @property
    def best_interchange(self) -> Site:
        return _earliest_best(self.sites, lambda site: site.interchange.value)

    @property
    def best_mean_interchange(self) -> Site:
        return _earliest_best(self.sites, lambda site: site.mean_interchange.value)


def _earliest_best(sites: Sequence[Site], value: Callable[[Site], float]) -> Site:
    best = max(map(value, sites))
    return next(site for site in sites if value(site) >= best - AS_GOOD)


@dataclass(frozen=True, kw_only=True)
class CausalMap:
    """The map of one model: `n` pairs a variable, drawn by `seed`."""

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
            if not one.roles or not one.sites or len(one.sites) % len(one.roles):
                raise UsageError(f"{path} is not a whole causal map: {one.name} lacks sites; {again}")
        return found
