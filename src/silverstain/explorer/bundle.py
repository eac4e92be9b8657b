"""The page's modules as one script: so that a page is one file, which opens without a server and asks for nothing.

The modules keep to a small part of the language, which is checked here: imports are `import { a, b as c } from
'./name.js';` on a line, exports stand before what they export, and no two modules need each other.
"""

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
ENTRY = "start"
WORKER = "worker"
"""Modules that need no other to need them: what a page begins with, and what runs beside it."""
_IMPORT = re.compile(r"^import \{ ?([^}]*?) ?\} from '\./([\w]+)\.js';$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) )", re.MULTILINE)
_NAMES = re.compile(r"^export (?:async )?(?:function\*?|class|const) (?:(\w+)|\[([^\]]*)\])", re.MULTILINE)


def module_source(name: str) -> str:
    """The text of a module."""
    return (STATIC / f"{name}.js").read_text(encoding="utf-8")


def imports_of(source: str) -> dict[str, str]:
    """Which names a module takes from which others, as they stand between the braces."""
    return {module: names for names, module in _IMPORT.findall(source)}


def exports_of(source: str) -> list[str]:
    """The names that a module gives."""
    found: list[str] = []
    for one, several in _NAMES.findall(source):
        found += [one] if one else [name.strip() for name in several.split(",")]
    return found


@cache
def bundled(entry: str = ENTRY) -> str:
    """One script of a module and all that it needs, each module a function that is called once."""
    parts = [_wrapped(name, is_entry=name == entry) for name in modules_in_order(entry)]
    return "'use strict';\n" + "\n".join(parts) + "\n"


def modules_in_order(entry: str = ENTRY) -> list[str]:
    """A module and all it needs, each after those it needs; ValueError where two need each other."""
    done: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in open_:
            raise ValueError(f"modules need each other: {' → '.join([*open_, name])}")
        open_.append(name)
        for needed in imports_of(module_source(name)):
            visit(needed)
        open_.pop()
        done.append(name)

    visit(entry)
    return done


def _wrapped(name: str, *, is_entry: bool) -> str:
    source = module_source(name)
    names = exports_of(source)
    taken = _IMPORT.sub(lambda found: _taken(found[1], found[2]), source)
    body = _EXPORT.sub("", taken)
    for line in body.splitlines():
        if line.startswith(("import ", "export ")):
            raise ValueError(f"{name}.js: `{line}` is not of the form that can be bundled")
    if is_entry:
        return f"(async () => {{\n{body}\n}})();"
    return f"const module_{name} = (() => {{\n{body}\nreturn {{ {', '.join(names)} }};\n}})();"


def _taken(names: str, module: str) -> str:
    return f"const {{ {re.sub(r' as ', ': ', names)} }} = module_{module};"
