"""Targets as text: what they say, read without loading what they are of.

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
from dataclasses import dataclass, replace
from typing import Literal

from silverstain.errors import UsageError
from silverstain.notation import NUMBER, read_node
from silverstain.printable import printable

PLACED = re.compile(rf"(?P<what>.+)@(?P<position>-?{NUMBER})", re.DOTALL)
DIRECTION = re.compile(rf"(?P<file>.+?\.safetensors)(?::(?P<name>.+?))?(?:/L(?P<layer>{NUMBER}))?")
FORMS = "TOKEN, id:NUMBER, diff:TOKEN,TOKEN, L2.F17 or direction:FILE.safetensors:NAME, each with @POSITION behind"


@dataclass(frozen=True, kw_only=True)
class TargetForm:
    """What a target's text says; which fields count depends on its kind."""

    text: str
    kind: Literal["token", "difference", "direction", "feature"]
    token: str | int = ""
    minus: str | int = ""
    """Of a difference."""
    layer: int | None = None
    """Of a feature; of a direction None behind the final norm."""
    feature: int = -1
    file: str = ""
    """Of a direction."""
    name: str | None = None
    """Of the vector in the file; None where it is not said."""
    position: int | None = None


def read_form(text: str) -> TargetForm:
    """What a target's text says; UsageError says what it could have been. No file is read."""
    named = read_node(text.removeprefix("feature:"))
    if named is not None and named.kind == "feature":
        return TargetForm(
            text=text, kind="feature", layer=named.layer, feature=named.index, position=named.position
        )  # fmt: skip
    placed = PLACED.fullmatch(text)
    form = _what(placed["what"] if placed else text)
    return replace(form, position=int(placed["position"])) if placed else form


def _what(text: str) -> TargetForm:
    kind, colon, rest = text.partition(":")
    if colon and kind == "diff":
        return _difference(text, rest)
    if colon and kind == "feature":
        raise UsageError(f"cannot read the target {shown(text)}: name a feature as feature:L2.F17, layer and feature")
    if colon and kind == "direction":
        return _direction(text, rest)
    if not text:
        raise UsageError(f"a target is empty; give {FORMS}")
    return TargetForm(text=text, kind="token", token=_token(text))


def _token(text: str) -> str | int:
    number = text.removeprefix("id:")
    if number == text:
        return text
    if not re.fullmatch(NUMBER, number):
        raise UsageError(f"cannot read the target {shown(text)}: an id is a number, as id:40")
    return int(number)


def _difference(text: str, pair: str) -> TargetForm:
    tokens = pair.split(",")
    if len(tokens) != 2 or not all(tokens):
        raise UsageError(
            f"cannot read the target {shown(text)}: name two tokens with one comma between them, as "
            "diff:austin,sacramento, and a token that has a comma by its id, as diff:id:40,id:41"
        )
    return TargetForm(text=text, kind="difference", token=_token(tokens[0]), minus=_token(tokens[1]))


def _direction(text: str, rest: str) -> TargetForm:
    parts = DIRECTION.fullmatch(rest)
    if not parts:
        raise UsageError(f"cannot read the target {shown(text)}: name a file, as direction:FILE.safetensors:NAME")
    layer = None if parts["layer"] is None else int(parts["layer"])
    return TargetForm(text=text, kind="direction", file=parts["file"], name=parts["name"], layer=layer)


def shown(text: str) -> str:
    """A target as an error quotes it."""
    return repr(printable(text, 80))
