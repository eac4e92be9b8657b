"""What a graph's `meta` may say: read as others may have written it, and refused in one line where it is another thing.

`meta` itself stays what JSON gives. The classes here hold it to the types that the rest of the code counts on; keys
that nothing of ours reads may hold anything.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.parts import reason_of, shown_path
from silverstain.validation import Count, Finite, FromOutside, ShortText, validated

ADVICE = "trace the prompt again, or import the graph again"
Share = Annotated[float, Field(ge=0, le=1.001, allow_inf_nan=False)]
"""A probability or share; rounding may pass 1."""
Token = Annotated[int, Field(ge=-1, le=2**31 - 1)]
"""An id of the vocabulary, -1 where it is not known or there is none."""


class NamedFile(FromOutside):
    """A model or a dictionary."""

    name: ShortText | None = None
    hash: ShortText | None = None


class TargetFile(FromOutside):
    """What a graph explains. Files of other tools know less of it than a trace."""

    kind: Literal["token", "difference", "direction", "feature"] = "token"
    name: ShortText | None = None
    token: ShortText | None = None
    id: Token | None = None
    ids: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    probability: Share | None = None
    layer: Count | None = None
    position: Count | None = None
    feature: Count | None = None
    weight: Finite | None = None
    value: Finite | None = None
    activation: Finite | None = None

    @model_validator(mode="after")
    def _says_enough(self) -> "TargetFile":
        if self.name is None and self.token is None:
            raise ValueError("a target has neither a name nor a token")
        if self.kind == "difference" and self.ids is None:
            raise ValueError("a difference does not say of which two tokens (ids)")
        if self.kind == "feature" and None in (self.layer, self.feature, self.value, self.activation):
            raise ValueError("a feature that is a target needs layer, feature, value and activation")
        return self


class SettingsFile(FromOutside):
    """What of a trace's settings is read again."""

    norms: Literal["frozen", "linearised"] = "frozen"
    n_real: Count = 1
    neuron_rule: Literal["half", "up", "derivative", "ray"] | None = None


class PruningFile(FromOutside):
    node_share: Share
    edge_share: Share
    keep_errors: bool = True


class ExactnessFile(FromOutside):
    max_relative_error: Finite


class StatedScoresFile(FromOutside):
    """Scores of the whole graph, as the file that was imported states them."""

    replacement: Share
    completeness_all_rows: Share | None = None


class ImportedFile(FromOutside):
    """Where a graph of another tool comes from; `from` is a word of Python's, so it is not looked at."""

    pruned_at: Finite | None = None
    ambiguous_links: Count = 0
    scores: StatedScoresFile | None = None


class AnswersFile(FromOutside):
    """How probable the base answer and the contrast answer are in each run."""

    base: Annotated[list[Share], Field(min_length=2, max_length=2)]
    contrast: Annotated[list[Share], Field(min_length=2, max_length=2)]


class ContrastFile(FromOutside):
    """The two runs whose difference a graph explains; what `meta` says elsewhere is of the contrast run."""

    prompt: str | None
    contrast_prompt: str | None
    tokens: Annotated[list[ShortText], Field(min_length=1)]
    contrast_tokens: list[ShortText]
    token_ids: list[Token]
    contrast_token_ids: list[Token]
    changed: list[Count]
    """Positions at which the tokens differ."""
    base: Finite
    """The value of the target in the base run."""
    contrast: Finite
    answers: Annotated[list[ShortText], Field(min_length=2, max_length=2)]
    """Of the base run and of the contrast run."""
    probabilities: AnswersFile

    @model_validator(mode="after")
    def _runs_are_of_one_length(self) -> "ContrastFile":
        n = len(self.tokens)
        for name in ("contrast_tokens", "token_ids", "contrast_token_ids"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{n} tokens of the base stand beside {len(getattr(self, name))} {name}")
        if any(at >= n for at in self.changed):
            raise ValueError(f"position {max(self.changed)} is said to have changed in prompts of {n} tokens")
        return self


class MetaFile(FromOutside):
    """The whole of it. A graph made in Python may say nothing at all."""

    prompt: str | None = None
    tokens: list[ShortText] | None = Field(default_factory=list)
    token_ids: list[Token] | None = None
    targets: list[TargetFile] = Field(default_factory=list)
    model: NamedFile | None = None
    dictionary: NamedFile | None = None
    active_features: Count | None = None
    always_on: list[Annotated[list[Count], Field(min_length=2, max_length=2)]] = Field(default_factory=list)
    """(layer, neuron) of those that contribute about as much whatever the prompt is."""
    share: Share | None = None
    """Of what all neurons contribute, what those that are nodes do."""
    settings: SettingsFile = SettingsFile()
    pruning: PruningFile | None = None
    exactness: ExactnessFile | None = None
    unexplained_influence: Finite | None = None
    seconds: dict[str, Finite] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    imported: ImportedFile | None = None
    contrast: ContrastFile | None = None
    rest: bool = False
    """Whether nodes of kind error are all else of their layer and position, and no errors of a dictionary."""

    @model_validator(mode="after")
    def _tokens_fit(self) -> "MetaFile":
        if "tokens" in self.model_fields_set and not self.tokens:
            raise ValueError("the prompt has no tokens")
        if self.token_ids is not None and self.tokens and len(self.token_ids) != len(self.tokens):
            raise ValueError(f"{len(self.tokens)} tokens have {len(self.token_ids)} token ids")
        if self.contrast is not None and self.tokens and len(self.contrast.tokens) != len(self.tokens):
            raise ValueError(f"{len(self.tokens)} tokens are contrasted with {len(self.contrast.tokens)}")
        return self


def read_meta(path: Path, text: str) -> dict[str, Any]:
    """The `meta` that a graph file holds as JSON; UsageError where it is damaged or of other types."""
    try:
        meta = parsed_json(text)
        json.dumps(meta, allow_nan=False)  # what was read can be written
    except ValueError as error:
        raise UsageError(
            f"cannot read {shown_path(path)}: its meta is no JSON of ours: {reason_of(error)}; {ADVICE}"
        ) from error
    validated(MetaFile, meta, path, ADVICE)
    return meta


def writable_meta(meta: Mapping[str, Any]) -> str:
    """`meta` as JSON; UsageError where it holds what JSON or UTF-8 does not have."""
    try:
        text = json.dumps(dict(meta), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (ValueError, TypeError) as error:  # half of a character is a ValueError, too
        raise UsageError(
            f"the graph cannot be written: its meta holds what no file can: {reason_of(error)}; take that out of it"
        ) from error
    return text


def token_names(token_ids: Sequence[int]) -> list[str]:
    """What tokens are called whose text is not known: by their ids."""
    return [f"#{token}" if token >= 0 else "#?" for token in token_ids]
