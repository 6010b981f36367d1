"""The command class: each option can also be set by the environment, and `vtr.toml` may name it."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from vtrcli.cli.settings import environment_name

NOT_SETTINGS = frozenset({"help", "version", "json_output", "install_completion", "show_completion"})


class VtrCommand(TyperCommand):
    """A command each of whose options can also be set by the environment variable VTR_OPTION."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.name not in NOT_SETTINGS:
                parameter.envvar = parameter.envvar or environment_name(parameter.name or "")
                parameter.show_envvar = False  # the same rule for every option: said once, in `vtr --help`

    @property
    def option_names(self) -> frozenset[str]:
        """What `vtr.toml` may set for this command, its arguments included."""
        return frozenset(parameter.name or "" for parameter in self.params) - NOT_SETTINGS


def option_names(command: Any) -> frozenset[str]:
    """Option names of a command, or of all the commands of a group."""
    if isinstance(command, TyperGroup):
        return frozenset().union(*(option_names(child) for child in command.commands.values()))
    return command.option_names if isinstance(command, VtrCommand) else frozenset()
