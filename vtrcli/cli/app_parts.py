"""The command class: each option can also be set by the environment, and `vtr.toml` may name it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from typer.core import TyperCommand, TyperGroup, TyperOption

from vtrcli.cli.settings import OptionKind, environment_name
from vtrcli.errors import UsageError

# What a single search asks for, and what it prints, is no setting for all of them.
_OF_ONE_SEARCH = frozenset(
    "query queries plus minus image like weights open_player clips gallery paths_only null".split()
)
NOT_SETTINGS = _OF_ONE_SEARCH | {"help", "version", "json_output", "install_completion", "show_completion"}


class VtrCommand(TyperCommand):
    """A command each of whose options can also be set by the environment variable VTR_OPTION."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.name in self.option_names:
                parameter.envvar = parameter.envvar or environment_name(parameter.name or "")
                # The same rule for every option: said once, in `vtr --help`.
                parameter.show_envvar = False  # type: ignore[attr-defined]

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises UsageError for infinity and NaN, which no option means."""
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(
                    f"--{name.replace('_', '-')} {value}", allowed="a finite number", to_do="give a number"
                )
        return super().invoke(ctx)

    @property
    def option_names(self) -> frozenset[str]:
        """What `vtr.toml` may set for this command: its options, and arguments that need not be given."""
        return (
            frozenset(
                parameter.name or ""
                for parameter in self.params
                if isinstance(parameter, TyperOption) or not parameter.required
            )
            - NOT_SETTINGS
        )

    @property
    def option_kinds(self) -> dict[str, OptionKind]:
        """`option_names` with what each holds, from the type hints of the command's function."""
        hints = get_type_hints(self.callback)
        return {name: _kind(hints.get(name)) for name in self.option_names}


def option_kinds(command: Any) -> Mapping[str, OptionKind]:
    """Options of a command, or of all the commands of a group."""
    if isinstance(command, TyperGroup):
        return {
            name: kind for child in command.commands.values() for name, kind in option_kinds(child).items()
        }
    return command.option_kinds if isinstance(command, VtrCommand) else {}


def _kind(hint: Any) -> OptionKind:
    """`Path | None` holds a path, `list[Path] | None` a list of them."""
    parts = [hint, *get_args(hint)]
    lists = [part for part in parts if get_origin(part) is list]
    inner = [*parts, *(item for part in lists for item in get_args(part))]
    return OptionKind(is_path=Path in inner, is_list=bool(lists))
