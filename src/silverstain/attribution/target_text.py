"""Targets as text, for the command line and for files of prompts.

    austin                              a token, by its text
    id:40                               a token, by its id
    diff:austin,sacramento              the first token's logit less the second's; id:40 names one here, too
    L2.F17, feature:L2.F17              the pre-activation of a feature, active or not
    direction:FILE.safetensors:NAME     a vector of a file, behind the final norm
    direction:FILE.safetensors:NAME/L3  … where the dictionary reads in layer 3

Each may end in a position: `austin@-2` is read after the last token but one. A feature is named as everywhere
(`silverstain.notation`); a token that looks like one is named by its id.
"""

import re
from dataclasses import replace
from pathlib import Path

from silverstain.attribution.requests import (
    DifferenceTarget,
    DirectionTarget,
    FeatureTarget,
    TargetRequest,
    TokenTarget,
)
from silverstain.errors import UsageError
from silverstain.notation import NUMBER, read_node
from silverstain.printable import printable
from silverstain.storage import read_tensors

PLACED = re.compile(rf"(?P<what>.+)@(?P<position>-?{NUMBER})", re.DOTALL)
DIRECTION = re.compile(rf"(?P<file>.+?\.safetensors)(?::(?P<name>.+?))?(?:/L(?P<layer>{NUMBER}))?")
FORMS = "TOKEN, id:NUMBER, diff:TOKEN,TOKEN, L2.F17 or direction:FILE.safetensors:NAME, each with @POSITION behind"


def read_target(text: str) -> TargetRequest:
    """The target a text names; UsageError says what it could have been."""
    named = read_node(text.removeprefix("feature:"))
    if named is not None and named.kind == "feature":
        return FeatureTarget(layer=named.layer, feature=named.index, position=named.position)
    placed = PLACED.fullmatch(text)
    target = _what(placed["what"] if placed else text)
    return replace(target, position=int(placed["position"])) if placed else target


def _what(text: str) -> TargetRequest:
    kind, colon, rest = text.partition(":")
    if colon and kind == "diff":
        return _difference(rest)
    if colon and kind == "feature":
        raise UsageError(f"cannot read the target {_shown(text)}: name a feature as feature:L2.F17, layer and feature")
    if colon and kind == "direction":
        return _direction(text, rest)
    if not text:
        raise UsageError(f"a target is empty; give {FORMS}")
    return TokenTarget(token=_token(text))


def _token(text: str) -> str | int:
    number = text.removeprefix("id:")
    if number == text:
        return text
    if not re.fullmatch(NUMBER, number):
        raise UsageError(f"cannot read the target {_shown(text)}: an id is a number, as id:40")
    return int(number)


def _difference(pair: str) -> DifferenceTarget:
    tokens = pair.split(",")
    if len(tokens) != 2 or not all(tokens):
        raise UsageError(
            f"cannot read the target {_shown('diff:' + pair)}: name two tokens with one comma between them, as "
            "diff:austin,sacramento, and a token that has a comma by its id, as diff:id:40,id:41"
        )
    return DifferenceTarget(token=_token(tokens[0]), minus=_token(tokens[1]))


def _direction(text: str, rest: str) -> DirectionTarget:
    parts = DIRECTION.fullmatch(rest)
    if not parts:
        raise UsageError(f"cannot read the target {_shown(text)}: name a file, as direction:FILE.safetensors:NAME")
    vectors, _ = read_tensors(parts["file"])
    name = parts["name"] or (next(iter(vectors)) if len(vectors) == 1 else None)
    if name not in vectors:
        what = "no vector is named" if name is None else f"there is no vector {_shown(name)}"
        known = printable(", ".join(sorted(vectors)) or "none", 300)
        raise UsageError(f"cannot read the target {_shown(text)}: {what}; {Path(parts['file']).name} has {known}")
    return DirectionTarget(
        name=name, vector=vectors[name], layer=None if parts["layer"] is None else int(parts["layer"])
    )


def _shown(text: str) -> str:
    return repr(printable(text, 80))
