"""Numbers on the command line that no computer can count to, and those that are none: refused before anything is done.

Each option says what makes sense for it; this holds for all of them, whatever they say.
"""

import math
from typing import Any

import typer

LARGEST_SEED = 2**63 - 1
LARGEST = 10**12
"""No count of tokens, steps or features is larger. Far below what 64 bits hold, as counts are multiplied."""


def bound_numbers(command: Any) -> None:
    """Let the options of a command, and of its commands, refuse numbers that are infinite, NaN or beyond LARGEST."""
    for parameter in command.params:
        parameter.process_value = _bounded(parameter, LARGEST_SEED if parameter.name == "seed" else LARGEST)
    for inner in getattr(command, "commands", {}).values():
        bound_numbers(inner)


def _bounded(parameter: Any, largest: int) -> Any:
    """How the parameter makes a value of what was typed, with bounds."""
    process = parameter.process_value

    def checked(context: Any, typed: Any) -> Any:
        value = process(context, typed)
        for number in value if isinstance(value, list | tuple) else (value,):
            problem = _problem(number, largest)
            if problem is not None:
                raise typer.BadParameter(problem, ctx=context, param=parameter)
        return value

    return checked


def _problem(number: Any, largest: int) -> str | None:
    if isinstance(number, float) and not math.isfinite(number):
        return f"{number} is no number that can be computed with"
    if isinstance(number, int | float) and abs(number) > largest:
        return f"{str(number)[:40]} is too large; numbers go up to {largest:,}"
    return None
