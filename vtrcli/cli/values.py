"""Values of options that need no checking beyond their own type. Typer has pydantic check each, which takes 0.08 s of a
processor to import and to set up: as long as the rest of a search that a server answers.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

_TEXTS = {str: str, Path: Path, list[str]: str, list[Path]: Path}


class QuickValue:
    """Takes what is plain as it is: nothing, a default, a text, a path, a whole number within its bounds, and lists of
    texts and paths. Anything else, and all that is wrong, goes Typer's way.

    Args:
        parameter: Typer's, of a command.
    """

    def __init__(self, parameter: Any) -> None:
        self._typers_way = parameter.get_runtime_param
        self._annotation = parameter.type_descriptor.annotation
        self._info = parameter.type_descriptor.parameter_info

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """What the command gets for a value as it was given; raises as Typer does."""
        is_list = param.multiple or param.nargs == -1
        if value is None:
            return () if is_list else None
        if value is param.default:
            return value
        kind = _TEXTS.get(self._annotation)
        if kind is not None and is_list and isinstance(value, (list, tuple)):
            if all(type(item) is str for item in value):
                return [kind(item) for item in value]
        elif kind is not None and not is_list and type(value) is str:
            return kind(value)
        elif self._annotation is int and type(value) is str and re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
            number, low, high = int(value), self._info.min, self._info.max
            if (low is None or low <= number) and (high is None or number <= high):
                return number
        return self._typers_way().coerce(value, param=param, ctx=ctx)


def take_quickly(parameters: list[Any]) -> list[Any]:
    """The same parameters of Typer's, which take plain values so."""
    for parameter in parameters:
        if hasattr(parameter, "get_runtime_param") and "get_runtime_param" not in vars(parameter):
            parameter.get_runtime_param = partial(_same, QuickValue(parameter))
    return parameters


def _same(value: QuickValue) -> QuickValue:
    return value
