"""Help as a person reads it: flags grouped by what they are about, without what says nothing.

Left out are the negative form of a flag that is off, a default of nothing, and that a count cannot be negative.
"""

import re
from types import MethodType
from typing import Any

SHORT = {"out": "-o"}
"""Parameter -> its short flag, the same in every verb."""
GROUPS = {
    "Model and dictionary": ("model", "dictionary", "check_dictionary", "chat", "device", "dtype", "threads"),
    "Text": ("text", "field", "context", "batch", "bos", "held_out", "check_text"),
    "Output": ("out", "save", "write", "rows", "top", "boxes", "width", "json"),
}
"""Where many flags stand together: heading -> parameters; the others come first."""
MANY = 10
_TYPES = {
    "int range": "N", "int": "N", "float range": "X", "float": "X", "str": "TEXT", "path": "PATH",
    "list[str]": "TEXT", "list[path]": "PATH",
}  # fmt: skip
_EXTRA = re.compile(r"\s*\[([^\[\]]*)\]$")
_TWO_SIDED = re.compile(r"([\d.]+)<=x<=([\d.]+)")


def readable_help(command: Any) -> None:
    """Give a command, and the commands in it, short flags and this kind of help."""
    for parameter in command.params:
        if parameter.name in SHORT and parameter.param_type_name == "option":
            parameter.opts.insert(0, SHORT[parameter.name])
    inner = getattr(command, "commands", {})
    if not inner:
        command.format_options = MethodType(_format_options, command)
    for one in inner.values():
        readable_help(one)


def _format_options(command: Any, context: Any, formatter: Any) -> None:
    parameters = command.get_params(context)
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option" and not one.hidden]
    sections = {"Arguments": arguments, "Options": options}
    if len(options) > MANY:
        for heading, names in GROUPS.items():
            found = [one for one in options if one.name in names]
            if len(found) > 1:
                sections[heading] = found
                sections["Options"] = [one for one in sections["Options"] if one not in found]
    for heading, found in sections.items():
        records = [_record(one, context) for one in found if one.get_help_record(context)]
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)


def _record(parameter: Any, context: Any) -> tuple[str, str]:
    """The flag and what it does, of what typer would write."""
    name, text = parameter.get_help_record(context)
    if getattr(parameter, "secondary_opts", None) and parameter.default in (False, None):
        name = ", ".join(parameter.opts)
    name = re.sub(r"<([^<>]+)>", lambda kind: _TYPES.get(kind[1], kind[1].upper()), name)
    found = _EXTRA.search(text)
    if found is None:
        return name, text
    said = [piece for extra in found[1].split("; ") if (piece := _worth_saying(extra))]
    return name, text[: found.start()] + (f"  [{'; '.join(said)}]" if said else "")


def _worth_saying(extra: str) -> str | None:
    if extra.startswith(("x>=", "default: no-", "default: None")) or extra == "default: ":
        return None
    if (two := _TWO_SIDED.fullmatch(extra)) is not None:
        return f"{two[1]} to {two[2]}"
    return re.sub(r"^default: \((.*)\)$", r"default: \1", extra)
