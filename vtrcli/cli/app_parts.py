"""The command class: each option can also be set by the environment, and `vtr.toml` may name it.

What is wrong with a value is said of the place that it came from.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from typer._click.exceptions import BadParameter
from typer._click.exceptions import UsageError as ParseError
from typer.core import TyperCommand, TyperGroup, TyperOption

from vtrcli.cli.output import home_relative, say
from vtrcli.cli.settings import OptionKind, environment_name, find_settings, key_in_settings
from vtrcli.errors import UsageError, VtrError

# What a single search asks for, and what it prints, is no setting for all of them.
_OF_ONE_SEARCH = frozenset(
    "query queries plus minus image like weights open_player clips gallery paths_only null".split()
)
NOT_SETTINGS = _OF_ONE_SEARCH | {"help", "version", "json_output", "install_completion", "show_completion"}


class VtrCommand(TyperCommand):
    """A command each of whose options can also be set by the environment variable VTR_OPTION."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Lines of a docstring are no lines of the terminal.
        self.help = "\n\n".join(" ".join(text.split()) for text in (self.help or "").split("\n\n"))
        for parameter in self.params:
            if parameter.name in self.option_names:
                parameter.envvar = parameter.envvar or environment_name(parameter.name or "")
                # The same rule for every option: said once, in `vtr --help`.
                parameter.show_envvar = False  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options; an error of the parser knows whose they are.

        Raises:
            UsageError: an option with one value that was given several times: none of them is meant alone.
        """
        try:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            require_once(given)
            return super().parse_args(ctx, args)
        except ParseError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises UsageError for infinity and NaN, which no option means."""
        if not ctx.params.get("quiet"):
            tell_unknown_variables(ctx.find_root().command)
        try:
            for name, value in ctx.params.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise UsageError(
                        f"--{name.replace('_', '-')} {value}",
                        allowed="a finite number",
                        to_do="give a number",
                    )
            return super().invoke(ctx)
        except VtrError as error:
            error.came_in += "".join(f" (from {place})" for place in _places_of(ctx, error.came_in))
            raise

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


class TypedCommand(VtrCommand):
    """A command that takes something away: all but the store has to be typed, so that no setting can widen it."""

    @property
    def option_names(self) -> frozenset[str]:
        """The store alone."""
        return super().option_names & {"store"}


def require_once(given: list[Any]) -> None:
    """Raises UsageError when an option with one value comes twice among the parameters in the order they were given."""
    for parameter, number in Counter(given).items():
        if (
            number > 1
            and isinstance(parameter, TyperOption)
            and not (parameter.multiple or parameter.is_flag)
        ):
            name = max(parameter.opts, key=len)
            raise UsageError(
                f"{name} was given {number} times", allowed="it has one value", to_do="keep one of them"
            )


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
    return OptionKind(is_path=Path in inner, is_list=bool(lists), is_flag=bool in inner)


def usage_error(error: ParseError) -> UsageError:
    """What the option parser refused, in three parts; a value is said of the place that it was written in."""
    to_do = f"see `{error.ctx.command_path} --help`" if error.ctx else "see `vtr --help`"
    parameter = getattr(error, "param", None)
    if parameter is None or error.ctx is None or type(error) is not BadParameter:
        came_in, _, allowed = error.format_message().rstrip(".").partition(". ")
        lowered = (text[:1].lower() + text[1:] for text in (came_in, allowed))
        return UsageError(next(lowered), allowed=next(lowered), to_do=to_do)
    allowed = re.sub(r"^Input should be |, unable to .*$", "", error.message)
    allowed = re.sub(r"^Value error, .* is not one of ", "one of ", allowed).rstrip(".")
    flag = max(parameter.opts, key=len)
    place = _place(error.ctx, parameter)
    if place is None:
        return UsageError(f"{flag} has a value that it cannot have", allowed=allowed, to_do=to_do)
    return UsageError(
        f"{place[0]} is {place[1]!r}", allowed=allowed, to_do=f"mend it there; {flag} wins over it"
    )


def _place(context: Any, parameter: Any) -> tuple[str, Any] | None:
    """Where the value of a parameter was written, and how; None for the command line and the default."""
    name = parameter.name or ""
    source = context.get_parameter_source(name)
    if source is not None and source.name == "ENVIRONMENT":
        return environment_name(name), os.environ.get(environment_name(name))
    if source is not None and source.name == "DEFAULT_MAP":
        settings = find_settings(Path.cwd())
        if settings is not None:
            command = context.command_path.split()[1]
            return (
                f"{key_in_settings(settings, name, command)} in {home_relative(settings)}",
                (context.default_map or {}).get(name),
            )
    return None


def _places_of(context: Any, text: str) -> Iterator[str]:
    """The places of the settings that an error speaks of: it names the option, or repeats the value."""
    for parameter in context.command.params:
        place = _place(context, parameter)
        if place is None:
            continue
        value = context.params.get(parameter.name)
        values = value if isinstance(value, (list, tuple)) else [value]
        words = [max(parameter.opts, key=len), *(word for word in map(str, values) if len(word) > 2)]
        if any(re.search(rf"(?<![\w/-]){re.escape(word)}(?![\w/-])", text) for word in words):
            yield place[0]


# Variables that are read, and are no option's.
OTHER_VARIABLES = frozenset({"VTR_DEBUG", "VTR_FFMPEG", "VTR_TEST_DATA"})


def tell_unknown_variables(root: Any) -> None:
    """A note for each VTR_ variable that nothing reads: it is a slip, and a silent one."""
    found = {name for name in os.environ if name.startswith("VTR_")} - OTHER_VARIABLES
    if not found:
        return
    known = {environment_name(name) for command in root.commands.values() for name in option_kinds(command)}
    known.add("VTR_FFMPEG")
    words = {name.removeprefix("VTR_"): name for name in known}
    for name in sorted(found - known):
        near = difflib.get_close_matches(name.removeprefix("VTR_"), words, n=1)
        meant = f"did you mean {words[near[0]]}?" if near else "`vtr config` shows what holds"
        say(f"note: the variable {name} is no setting of vtr and changes nothing; {meant}")
