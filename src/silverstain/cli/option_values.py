"""Options that verbs share, as one value: a verb takes `loading: LoadingOptions`, and typer sees its fields as flags.

    @app.command()
    @takes_option_values
    def verify(graph: GraphFile, loading: LoadingOptions, json: Json = False) -> None: ...

Such a value is a frozen dataclass; each field that is a flag has typer's option in its type. If it has a method
`check`, that is called before the command: it raises UsageError for what can be told without loading anything.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_origin


def takes_option_values(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer is to see it: in place of a parameter that is a dataclass, the flags of its fields.

    A parameter of the command with the name of a field replaces that field's flag, and fills the field too: so a verb
    can take the dictionary as an argument.
    """
    declared = inspect.signature(command).parameters
    kinds: dict[str, Any] = {name: one.annotation for name, one in declared.items() if is_dataclass(one.annotation)}
    seen: list[inspect.Parameter] = []
    for name, parameter in declared.items():
        if name in kinds:
            seen += [flag for flag in _flags(kinds[name]) if flag.name not in declared]
        else:
            seen.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**given: Any) -> None:
        values = {
            name: kind(**{field.name: given[field.name] for field in fields(kind) if field.name in given})
            for name, kind in kinds.items()
        }
        for value in values.values():
            if hasattr(value, "check"):
                value.check()
        command(**values, **{name: value for name, value in given.items() if name in declared})

    run.__signature__ = inspect.Signature(seen)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in seen}
    return run


def _flags(kind: Any) -> Iterator[inspect.Parameter]:
    """The fields that are flags, as parameters."""
    for field in fields(kind):
        if get_origin(field.type) is Annotated:
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
            )
