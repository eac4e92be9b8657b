"""JSON and YAML that somebody else wrote, read within bounds.

A document of a few hundred bytes can ask for gigabytes (aliases that double), for minutes (numbers in base sixty), or
for more nesting than any program can walk. Size, nesting and aliases are looked at before anything is believed. Dates,
sets and the like are what they say as text: no setting of ours is one.
"""

import json
import re
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError
from silverstain.storage import broken_file, check_is_file

MOST_BYTES = 64 << 20
"""A document larger than this is refused, but for graphs (see `read_text`)."""
MOST_YAML_BYTES = 1 << 20
DEEPEST = 64
"""Lists and objects inside each other: what is written by programs has less than ten."""
MOST_YAML_NODES = 100_000
"""Values of a YAML document, an alias counted as all that it stands for."""

_HALF_OF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


def read_text(path: str | Path, most_bytes: int = MOST_BYTES, *, is_appended: bool = False) -> str:
    """The UTF-8 text of a file; UsageError names one that is missing, larger than `most_bytes`, or no text.

    What is appended a line at a time (`is_appended`) may end within a character, where a run was killed.
    """
    path = Path(path)
    check_is_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise UsageError(
                f"{path} is larger than {most_bytes >> 20} MB, which no file of this kind is; check the path"
            )
        return content.decode(
            "utf-8-sig", "replace" if is_appended else "strict"
        )  # some editors put a byte-order mark in front
    except (OSError, ValueError) as error:
        raise broken_file(path, error) from error


def read_json(path: str | Path, format: str | tuple[str, ...] = (), most_bytes: int = MOST_BYTES) -> Any:
    """The JSON in a file; with `format`, an object whose "format" key must equal it, or one of several. Errors as of
    `read_text`."""
    path = Path(path)
    text = read_text(path, most_bytes)
    try:
        value = parsed_json(text)
    except ValueError as error:
        raise broken_file(path, error) from error
    if not format:
        return value
    wanted = (format,) if isinstance(format, str) else format
    seen = value.get("format") if isinstance(value, dict) else None
    if seen not in wanted:
        raise UsageError(
            f"{path} is not a {' or '.join(wanted)} file: its format is {seen!r:.80}; give a file of that format"
        )
    return value


def parsed_json(text: str) -> Any:
    """The value of a JSON text; ValueError where it is none, is nested too deep, or holds half of a character."""
    if _depth(text) > DEEPEST:
        raise ValueError(f"lists and objects stand more than {DEEPEST} deep in each other")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("lists and objects stand too deep in each other") from error
    if _HALF_OF_A_CHARACTER.search(text):  # a pair of halves is a character, which json has joined
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"a text holds half of a character (\\u{ord(error.object[error.start]):04x})") from error
    return value


def read_yaml(path: str | Path) -> Any:
    """The YAML in a file, in the types of JSON; UsageError names one that is damaged or asks for too much."""
    import yaml

    path = Path(path)
    text = read_text(path, MOST_YAML_BYTES)
    try:
        return _parsed_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise broken_file(path, error) from error


def _parsed_yaml(text: str) -> Any:
    import yaml

    _check_nesting(text)
    loader = _json_like_loader()(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check_extent(root)
        return loader.construct_document(root)
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f"{error.problem} at {str(error.problem_mark).strip()}") from error
    finally:
        loader.dispose()


def _check_nesting(text: str) -> None:
    """ValueError where collections stand too deep in each other: found from events, before anything is built."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"lists and mappings stand more than {DEEPEST} deep in each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_extent(root: Any) -> None:
    """ValueError for an alias inside of what it stands for, and for more values than MOST_YAML_NODES."""
    sizes: dict[int, int | None] = {}  # None: being counted

    def size(node: Any) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise ValueError("an alias stands inside of what it names")
        if known:
            return known
        sizes[id(node)] = None
        value = node.value
        parts = [] if isinstance(value, str) else [p for e in value for p in (e if isinstance(e, tuple) else (e,))]
        total = 1 + sum(size(part) for part in parts)
        if total > MOST_YAML_NODES:
            raise ValueError(f"with its aliases written out it has more than {MOST_YAML_NODES} values")
        sizes[id(node)] = total
        return total

    size(root)


def _json_like_loader() -> Any:
    """A loader that makes what JSON has and nothing else: no dates, sets, binary data or numbers in base sixty."""
    import yaml

    class JsonLike(yaml.SafeLoader):
        """Tags and plain words of YAML 1.2's core schema."""

        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
        yaml_constructors = {
            f"tag:yaml.org,2002:{kind}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
            for kind in ("null", "bool", "int", "float", "str", "seq", "map")
        } | {None: yaml.SafeLoader.yaml_constructors[None]}

    words = {
        "bool": (r"^(?:true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO)$", "tTfFyYnN"),
        "null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        "int": (r"^[-+]?[0-9]{1,40}$", "-+0123456789"),
        "float": (
            r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,5})?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
            "-+0123456789.",
        ),
    }
    for kind, (pattern, first) in words.items():
        JsonLike.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list(first))
    JsonLike.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(str(node.value), 10))
    JsonLike.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)
    return JsonLike


def _depth(text: str) -> int:
    """How deep lists and objects stand in each other, found without walking them: megabytes take milliseconds."""
    import numpy

    outside = b"".join(_ESCAPED.sub(b"", text.encode("utf-8", "replace")).split(b'"')[::2])
    letters = numpy.frombuffer(outside, dtype=numpy.uint8)
    opening = (letters == ord("[")) | (letters == ord("{"))
    closing = (letters == ord("]")) | (letters == ord("}"))
    steps = opening.astype(numpy.int8) - closing.astype(numpy.int8)
    return int(numpy.cumsum(steps, dtype=numpy.int64).max(initial=0))
