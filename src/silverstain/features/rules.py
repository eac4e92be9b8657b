"""Labels that can be tested: a rule says of a place in a text, from the tokens around it, whether a feature is active.

A rule is plain data, so that it can stand in a file: `{"all": [condition, …]}`, every one of which must hold, with

    {"at": -1, "tokens": [17, 4]}   the token so far from the place (0: at it, 1: the next) is one of these
    {"at": 0, "class": "a number"}  … is of a class of tokens that its text decides
    {"before": [17, 4]}             one of these is among the tokens before the place, as far as examples reach
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from silverstain.errors import UsageError
from silverstain.features.rows import AFTER, BEFORE

Rule = Mapping[str, Any]
PLACES = {-3: "three words after", -2: "two after", -1: "after", 0: "on", 1: "before"}
"""How the place of a token is called."""
MOST_NAMED = 4


class TokenClasses:
    """Classes of tokens by their text."""

    NAMES = (
        "a number", "punctuation", "a line break", "a word in capitals", "a capitalised word", "the rest of a word",
    )  # fmt: skip

    def __init__(self, strings: Sequence[str]) -> None:
        """`strings` are the texts of all tokens of a vocabulary."""
        self.strings = strings
        marked = any(text[:1] in ("Ġ", "▁", " ") for text in strings[:5000])
        self.members: dict[str, Bool[np.ndarray, " token"]] = {
            name: np.zeros(len(strings) + 1, dtype=bool) for name in self.NAMES
        }  # the last entry is of no token, -1
        for token, text in enumerate(strings):
            for name in self._classes(text, marked):
                self.members[name][token] = True

    @classmethod
    def _classes(cls, text: str, marked: bool) -> list[str]:
        plain = text.removeprefix("##").strip("Ġ▁ \t")
        found = []
        if plain.isdigit():
            found.append("a number")
        if plain.strip() and not any(letter.isalnum() for letter in plain) and "⟨" not in plain:
            found.append("punctuation")
        if "\n" in text or "Ċ" in text:
            found.append("a line break")
        if len(plain) > 1 and plain.isalpha() and plain.isupper():
            found.append("a word in capitals")
        if plain[:1].isupper() and plain[1:].islower():
            found.append("a capitalised word")
        if text.startswith("##") or (marked and text[:1] not in ("Ġ", "▁", " ") and plain[:1].islower()):
            found.append("the rest of a word")
        return found


def matches(rule: Rule, windows: Int[np.ndarray, "n width"], classes: TokenClasses) -> Bool[np.ndarray, " n"]:
    """Whether the rule holds at the centre of each window; UsageError for what is no rule."""
    conditions = rule.get("all") if isinstance(rule, Mapping) else None
    if not isinstance(conditions, Sequence) or isinstance(conditions, str):
        raise UsageError(f'this is no rule: {rule!r:.80}; a rule is {{"all": [conditions]}}')
    holds = np.ones(len(windows), dtype=bool)
    for condition in conditions:
        holds &= _holds(condition, windows, classes)
    return holds


def _holds(condition: Any, windows: Int[np.ndarray, "n width"], classes: TokenClasses) -> Bool[np.ndarray, " n"]:
    if isinstance(condition, Mapping):
        if "before" in condition:
            return np.asarray(np.isin(windows[:, :BEFORE], _ids(condition["before"])).any(1))
        at = condition.get("at")
        if isinstance(at, int) and -BEFORE <= at <= AFTER:
            column = windows[:, BEFORE + at]
            if "tokens" in condition:
                return np.isin(column, _ids(condition["tokens"]))
            if condition.get("class") in classes.members:
                return classes.members[condition["class"]][column]
    raise UsageError(f"this is no condition of a rule: {condition!r:.80}; see silverstain.features.rules")


def _ids(tokens: Any) -> Int[np.ndarray, " n"]:
    if not isinstance(tokens, Sequence) or not all(type(token) is int for token in tokens):
        raise UsageError(f"a rule names tokens by their ids, not by {tokens!r:.80}")
    return np.array(tokens, dtype=np.int64)


def rule_text(rule: Rule, classes: TokenClasses) -> str:
    """A rule as a person reads it: on "is", with "dal", "hou" before."""
    return ", ".join(_text(condition, classes) for condition in rule["all"]) or "everywhere"


def _text(condition: Mapping[str, Any], classes: TokenClasses) -> str:
    if "before" in condition:
        return f"with {_named(condition['before'], classes)} before"
    where = PLACES[condition["at"]]
    if "class" in condition:
        return f"{where} {condition['class']}"
    return f"{where} {_named(condition['tokens'], classes)}"


def _named(tokens: Sequence[int], classes: TokenClasses) -> str:
    words = [f'"{classes.strings[token].strip() or classes.strings[token]}"' for token in tokens]
    words = list(dict.fromkeys(words))
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED + 1 else ""
    return ", ".join(words[: MOST_NAMED if more else MOST_NAMED + 1]) + more
