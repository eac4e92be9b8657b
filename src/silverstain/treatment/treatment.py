"""A treatment as a value: edits without positions, each with the condition under which it holds, and whom it is for.

An edit of one prompt names positions; a treatment is for prompts nobody has seen, so it says by features where it
acts. It carries the hashes of the model and the dictionary that it was made for, and is refused elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.interventions.edit_files import edit_from_json
from silverstain.interventions.edits import DirectionEdit, Edit, PatternEdit
from silverstain.interventions.outside_edits import Pair, pairs
from silverstain.models import LanguageModel
from silverstain.notation import feature_name
from silverstain.storage import write_json_whole
from silverstain.validation import Count, FromOutside, ShortText, validated

FORMAT = "silverstain.treatment/1"
RuleEdit = Edit | DirectionEdit | PatternEdit


@brief
@dataclass(frozen=True, kw_only=True)
class Condition:
    """The tokens at which one of some features is active, or was a few tokens before.

    A token counts if any of the features is active on a token that lies from `first` to `last` tokens before it.
    """

    features: tuple[tuple[int, int], ...]
    """(layer, feature) pairs; one active feature is enough."""
    first: int = 0
    last: int | None = 0
    """None: however long before."""

    def __post_init__(self) -> None:
        if not self.features or min(min(at) for at in self.features) < 0:
            raise UsageError(f"a condition names features as (layer, feature) from 0, not {self.features}; name one")
        if self.first < 0 or (self.last is not None and self.last < self.first):
            raise UsageError(f"a condition looks back from {self.first} to {self.last} tokens; give 0 <= first <= last")

    def to_json(self) -> dict[str, Any]:
        return {"features": [list(at) for at in self.features], "first": self.first, "last": self.last}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One edit, and where it holds: at every token, or only where its condition does.

    An edit of attention holds by keys: what other tokens take from the tokens of the condition, among which attention
    stays as it is.
    """

    edit: RuleEdit
    when: Condition | None = None

    def __post_init__(self) -> None:
        problem = _problem(self.edit, self.when)
        if problem:
            raise UsageError(f"no rule of a treatment: {problem}")

    def __str__(self) -> str:
        if self.when is None:
            return str(self.edit)
        named = " or ".join(feature_name(*at) for at in self.when.features)
        back = "" if (self.when.first, self.when.last) == (0, 0) else f" {self.when.first} to {self.when.last} before"
        return f"{self.edit} where {named}{back}"

    def to_json(self) -> dict[str, Any]:
        return {"edit": self.edit.to_json(), "when": None if self.when is None else self.when.to_json()}


@brief
@dataclass(frozen=True, kw_only=True)
class Treatment:
    """Rules for one model with one dictionary. Made by `treatment_for`, which checks it against both."""

    name: str
    model_hash: str
    dictionary_hash: str
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise UsageError(f"the treatment {self.name!r} has no rule; give at least one edit")
        _check_agreement(self.rules)

    def check_fits(self, model: LanguageModel, dictionary: Basis) -> None:
        """UsageError unless it was made for these, and all that it names is there."""
        if self.model_hash != model.hash:
            raise UsageError(
                f"the treatment {self.name!r} was made for another model (hash {self.model_hash}) than {model.name} "
                f"(hash {model.hash}); make one for this model"
            )
        if self.dictionary_hash != dictionary.hash:
            raise UsageError(
                f"the treatment {self.name!r} was made for another dictionary (hash {self.dictionary_hash}) than "
                f"{dictionary.name} (hash {dictionary.hash}); give the dictionary it was made with"
            )
        for rule in self.rules:
            _check_rule(rule, model, dictionary)

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        said = {"name": self.name, "model_hash": self.model_hash, "dictionary_hash": self.dictionary_hash}
        write_json_whole(path, {"format": FORMAT, **said, "rules": [rule.to_json() for rule in self.rules]})

    @classmethod
    def load(cls, path: str | Path) -> "Treatment":
        """Read what `save` wrote; UsageError naming the file when it is missing, broken or of another format."""
        said = validated(OutsideTreatment, read_json(path, FORMAT), path, "it is no whole treatment, write it anew")
        rules = tuple(_rule(entry) for entry in said.rules)
        return cls(name=said.name, model_hash=said.model_hash, dictionary_hash=said.dictionary_hash, rules=rules)


def treatment_for(model: LanguageModel, dictionary: Basis, rules: Sequence[Rule], *, name: str) -> Treatment:
    """A treatment with the hashes of this model and dictionary; UsageError for what does not exist there."""
    made = Treatment(name=name, model_hash=model.hash, dictionary_hash=dictionary.hash, rules=tuple(rules))
    made.check_fits(model, dictionary)
    return made


def from_graph(
    model: LanguageModel,
    dictionary: Basis,
    graph: Graph,
    nodes: Sequence[int],
    *,
    name: str,
    factor: float = 0.0,
    when: Condition | None = None,
) -> Treatment:
    """Scale the features of some nodes of a diagnosed graph (a group's members, the ends of an edge), wherever they
    fire or where `when` holds. Nodes that are no features are refused."""
    n, is_feature = len(graph.nodes), graph.nodes.is_kind("feature")
    wrong = [node for node in nodes if not 0 <= node < n or not is_feature[node]]
    if wrong or not nodes:
        raise UsageError(f"nodes {wrong} of the graph are no features and cannot be treated; name nodes of features")
    features = tuple(sorted({(int(graph.nodes.layer[i]), int(graph.nodes.feature[i])) for i in nodes}))
    edit = Edit(op="ablate", features=features) if factor == 0 else Edit(op="scale", features=features, value=factor)
    return treatment_for(model, dictionary, [Rule(edit=edit, when=when)], name=name)


class OutsideCondition(FromOutside):
    features: Annotated[list[Pair], Field(min_length=1)]
    first: Count
    last: Count | None


class OutsideRule(FromOutside):
    edit: dict[str, Any]
    when: OutsideCondition | None


class OutsideTreatment(FromOutside):
    """A file of `Treatment.save`, as anyone may have written it."""

    name: ShortText
    model_hash: ShortText
    dictionary_hash: ShortText
    rules: list[OutsideRule]


def _rule(said: OutsideRule) -> Rule:
    edit, when = edit_from_json(said.edit), said.when
    if not isinstance(edit, RuleEdit):
        raise UsageError(f"no rule of a treatment: {edit} changes an error or token node, which one prompt alone has")
    condition = None
    if when is not None:
        condition = Condition(features=pairs(when.features), first=when.first, last=when.last)
    return Rule(edit=edit, when=condition)


def _problem(edit: RuleEdit, when: Condition | None) -> str | None:
    if edit.positions is not None:
        return f"{edit} names positions of one prompt; leave them out, and say by a condition where it holds"
    if isinstance(edit, PatternEdit):
        if when is None or edit.op == "patch" or edit.keys is not None:
            return f"{edit} of attention needs a condition that says from which tokens, no keys and no donor"
        if any(layer >= _first_layer(edit) for layer, _ in when.features):
            return f"{edit} is decided before the features of its condition are known; take features of lower layers"
    elif when is not None and any(layer > _first_layer(edit) for layer, _ in when.features):
        return f"{edit} comes before the features of its condition are known; take features of its layer or below"
    return None


def _first_layer(edit: RuleEdit) -> int:
    """The lowest layer in which the edit acts."""
    if isinstance(edit, DirectionEdit):
        return edit.layer
    return min(layer for layer, _ in (edit.features if isinstance(edit, Edit) else edit.heads))


def _check_agreement(rules: Sequence[Rule]) -> None:
    """UsageError when two rules change the same thing: where both hold, which counts would be chance."""
    seen: dict[object, Rule] = {}
    for rule in rules:
        edit = rule.edit
        if isinstance(edit, Edit):
            changed: list[object] = [feature_name(*at) for at in edit.features]
        elif isinstance(edit, DirectionEdit):
            changed = [(edit.layer, edit.direction)]
        else:
            changed = [f"L{layer}.H{head}" for layer, head in edit.heads]
        for what in changed:
            if what in seen:
                raise UsageError(f"two rules change the same thing: {seen[what]}, and {rule}; keep one of them")
            seen[what] = rule


def _check_rule(rule: Rule, model: LanguageModel, dictionary: Basis) -> None:
    edit, n = rule.edit, dictionary.n_features
    if rule.when is not None and dictionary.is_dense:
        raise UsageError(
            f"the rule {rule} waits for an activation, and neurons are never inactive: leave the condition out, or "
            "name a feature of a dictionary"
        )
    named = [*(edit.features if isinstance(edit, Edit) else ()), *(rule.when.features if rule.when else ())]
    for layer, feature in named:
        if layer >= dictionary.n_layers or feature >= n:
            raise UsageError(
                f"the rule {rule} names L{layer}.F{feature}, but {dictionary.name} has {dictionary.n_layers} layers "
                f"of {n} features; name one of those"
            )
    if isinstance(edit, DirectionEdit) and (
        not 0 <= edit.layer < model.n_layers or len(edit.direction) != model.d_model
    ):
        raise UsageError(
            f"the rule {rule} has a direction of {len(edit.direction)} numbers in layer {edit.layer}, but "
            f"{model.name} has {model.n_layers} layers of width {model.d_model}; give one of its stream"
        )
    if isinstance(edit, PatternEdit):
        for layer, head in edit.heads:
            if layer >= model.n_layers or head >= model.n_heads:
                raise UsageError(
                    f"the rule {rule} names L{layer}.H{head}, but {model.name} has {model.n_layers} layers of "
                    f"{model.n_heads} heads; name one of those"
                )
