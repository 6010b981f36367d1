"""Where an option's value comes from: flag, environment (VTR_NAME), `vtr.toml`, default - in this order.

`vtr.toml` is looked for in the working folder and those above it. Its top-level keys are options (`store`,
`videos`, `backbone` …) and hold for every command that has the option; a table named like a command holds for
that command alone. Paths in the file are relative to the file. What is wrong with a value is said of the place that it
came from.

Who unpacks a stranger's folder did not write its `vtr.toml`, so the file may not say everything: docs/settings.md.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from typer._click.exceptions import BadParameter
from typer._click.exceptions import UsageError as ParseError
from typer.core import TyperCommand, TyperGroup, TyperOption

from vtrcli.cli.output import home_relative, say
from vtrcli.cli.values import take_quickly
from vtrcli.errors import InputError, UsageError, VtrError
from vtrcli.text_files import decode_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


SETTINGS_NAME = "vtr.toml"
WRITES_SETTINGS = "init"  # the command that mends a broken file, and so reads none
# What it writes: known without asking the commands, which would import each of them for nearly every file.
WRITTEN_KEYS = frozenset("videos store backbone dataset annotations".split())
# These hold a word (`ViT-B/32`, `none`, `train`) or a path: a path where such a file exists beside the settings.
WORDS_OR_PATHS = frozenset({"backbone", "run", "bank"})
# What a file never decides: it may come with a folder that somebody else made.
ONLY_TYPED = {
    "player": "it is a program that is run",
    **dict.fromkeys(
        ("token", "serve_token"), "it is a secret, which a file that is passed on would give away"
    ),
    "allow_host": "it is who may ask a server",
    "report": "a file of that name is overwritten",
    "allow_cut": "it lets programs write into a folder",
    "save_ranks": "a file of that name is overwritten",
    **dict.fromkeys(
        ("save_similarities", "save_moments", "save_run", "save_qrels", "save_mteb", "table"),
        "a file of that name is overwritten",
    ),
}
# Words that win over a file of that name.
WORDS = frozenset({"none", "test", "train", "demo"})
BARE_VALUE = "store"  # of an option that came without one: `vtr eval --moments` means those of the store
MAX_LISTED = 30  # more would hide what was meant
# What a single search asks for, and what it prints, is no setting for all of them.
_OF_ONE_SEARCH = frozenset(
    "query queries plus minus image like weights open_player clips gallery paths_only null "
    "edl otio fcpxml xml csv".split()
)
_OF_ONE_EVALUATION = frozenset({"predictions", "truth"})  # --moments is another option of `vtr search`
NOT_SETTINGS = (
    _OF_ONE_SEARCH
    | _OF_ONE_EVALUATION
    | {"help", "version", "json_output", "install_completion", "show_completion"}
)
# Variables that are read, and are no option's.
OTHER_VARIABLES = frozenset({"VTR_DEBUG", "VTR_FFMPEG", "VTR_TEST_DATA"})


@dataclass(frozen=True)
class OptionKind:
    """What a setting holds. `is_path`: relative to the file; `is_list`: one value may stand for a list of one;
    `is_flag`: true or false."""

    is_path: bool = False
    is_list: bool = False
    is_flag: bool = False


def environment_name(option: str) -> str:
    """VTR_BATCH_SIZE for batch_size."""
    return f"VTR_{option.upper()}"


def find_settings(start: Path, *, on_foreign: Callable[[Path], None] = lambda path: None) -> Path | None:
    """The nearest `vtr.toml` in `start` or above it that nobody else may have put there (`/tmp/vtr.toml`).

    One above `start` must belong to the user, to root or to the owner of `start`; `on_foreign` hears of others.
    """
    for folder in (start, *start.parents):
        path = folder / SETTINGS_NAME
        if path.is_file():
            if folder == start or _is_ours(path, start):
                return path
            on_foreign(path)
    return None


def _is_ours(path: Path, start: Path) -> bool:
    if os.name == "nt":
        return True
    try:
        return path.stat().st_uid in (0, os.geteuid(), start.stat().st_uid)
    except OSError:
        return False


def key_in_settings(path: Path, name: str, command: str) -> str:
    """How the file gives an option to a command: `top-k`, or `top-k` of [search]."""
    body = _parsed(path)
    for where, table in ((f" of [{command}]", body.get(command)), ("", body)):
        for key in table if isinstance(table, dict) else ():
            if _snake(key) == name:
                return f"`{key}`{where}"
    return f"`{name}`"


def load_settings(path: Path, commands: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The option values that the file gives to the command `name`; to a group, those of each sub-command.

    Args:
        commands: all of them, by name. Only those that the file speaks of are asked for.

    Raises:
        UsageError: the file is no TOML, or names an option or command that does not exist, or one that a file must not
            set.
    """
    body = _parsed(path)
    everywhere = {_snake(key): value for key, value in body.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in body.items() if isinstance(value, dict)}
    known = [command for command in commands if command != WRITES_SETTINGS]
    likely = sorted(known, key=lambda command: command != name)
    for key in everywhere:
        if key not in WRITTEN_KEYS and not any(key in option_kinds(commands[command]) for command in likely):
            options = frozenset(option for command in known for option in option_kinds(commands[command]))
            _require_known(path, key, options, "option")
    for command, table in tables.items():
        _require_known(path, command, frozenset(known), "command")
        for key in table:
            options = frozenset(option_kinds(commands[command]))
            _require_known(path, _snake(key), options, f"option of `vtr {command}`")
    for table in (everywhere, *tables.values()):
        for key, value in table.items():
            _require_harmless(path, _snake(key), value)
    given = everywhere | {_snake(key): value for key, value in tables.get(name, {}).items()}
    return _values_for(commands[name], given, path)


def _values_for(command: Any, given: dict[str, Any], path: Path) -> dict[str, Any]:
    if isinstance(command, TyperGroup):
        return {name: _values_for(child, given, path) for name, child in command.commands.items()}
    kinds = option_kinds(command)
    return {name: _located(name, value, kinds[name], path) for name, value in given.items() if name in kinds}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(decode_text(path.read_bytes(), name=str(path)))
    except (OSError, InputError, tomllib.TOMLDecodeError) as cause:
        why = cause.came_in if isinstance(cause, InputError) else cause
        raise UsageError(
            f"{path} cannot be read: {why}",
            allowed="a TOML file in UTF-8",
            to_do="mend it, or write a new one with `vtr init --force`",
        ) from cause


def _require_known(path: Path, key: str, known: frozenset[str], kind: str) -> None:
    if key in known:
        return
    similar = difflib.get_close_matches(key, known, n=1)
    raise UsageError(
        f"{path} names {key!r}, which is no {kind}",
        allowed=f"known: {', '.join(sorted(known))}"
        if len(known) <= MAX_LISTED or not similar
        else f"one of the {len(known)} that docs/commands.md lists",
        to_do=f"did you mean {similar[0]!r}?" if similar else "remove it, or see `vtr --help`",
    )


def _require_harmless(path: Path, key: str, value: Any) -> None:
    """A file may name places and numbers; not what runs, what is overwritten, or where things are sent."""
    flag, variable = f"--{key.replace('_', '-')}", environment_name(key)
    why = ONLY_TYPED.get(key)
    if key == "milvus" and isinstance(value, str) and ("://" in value or value.startswith("unix:")):
        why = "it is an address to which vtr would send what it knows of the videos"
    if key == "ray" and value not in ("auto", "local"):
        why = "it is an address whose programs may run anything here"
    if why is not None:
        raise UsageError(
            f"{path} sets {key!r}: {why}",
            allowed=f"{flag}, or {variable} in the environment",
            to_do="remove it from the file",
        )
    if key == "out" and isinstance(value, str):
        folder = path.parent.resolve()
        if not Path(folder, os.path.expanduser(value)).resolve().is_relative_to(folder):
            raise UsageError(
                f"{path} sets 'out' to {value!r}, which is outside its folder",
                allowed="a folder beside or below the file",
                to_do=f"remove it from the file, and give {flag} or {variable}",
            )


def _snake(key: str) -> str:
    return key.replace("-", "_")


def _located(name: str, value: Any, kind: OptionKind, path: Path) -> Any:
    """Make a relative path of the file independent of the working folder. Raises UsageError for a path that is none."""
    if isinstance(value, list):
        return [_located_text(name, item, kind, path) for item in value]
    located = _located_text(name, value, kind, path)
    return [located] if kind.is_list else located


def _located_text(name: str, value: Any, kind: OptionKind, path: Path) -> Any:
    if kind.is_path and not isinstance(value, str):
        raise UsageError(
            f"{path} sets {name!r} to {json.dumps(value, default=str)}",
            allowed="a path between quotation marks",
            to_do=f'write {name.replace("_", "-")} = "…"',
        )
    if not isinstance(value, str):
        # As if it were typed: the parser of options then refuses 1.5 or true for a whole number.
        return value if kind.is_flag and isinstance(value, bool) else json.dumps(value, default=str)
    if value == "-":
        return value
    target = path.parent / os.path.expanduser(value)
    if kind.is_path or (name in WORDS_OR_PATHS and value not in WORDS and target.exists()):
        return str(target)
    return value


def settings_text(values: dict[str, str | None]) -> str:
    """The file: what was given, and the other keys as comments. JSON strings are TOML strings."""
    lines = ["# Settings of vtr for this folder and those below it. Paths are relative to this file.", ""]
    for key, value in values.items():
        lines.append(
            f"# {key} = " + '"…"' if value is None else f"{key} = {json.dumps(value, ensure_ascii=False)}"
        )
    lines += ["", "# A table per command holds options for it alone:", "# [extract]", "# frames = 12", ""]
    return "\n".join(lines)


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

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, --help among them."""
        return take_quickly(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options; an error of the parser knows whose they are.

        Raises:
            UsageError: an option with one value that was given several times: none of them is meant alone.
        """
        try:
            args = self._with_bare_values(args)
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            require_once(given)
            return super().parse_args(ctx, args)
        except ParseError as error:
            error.ctx = error.ctx or ctx
            raise

    def _with_bare_values(self, args: list[str]) -> list[str]:
        """Options whose value stands in [brackets] may come without one: they get BARE_VALUE."""
        bare = {
            name
            for parameter in self.params
            if isinstance(parameter, TyperOption) and (parameter.metavar or "").startswith("[")
            for name in parameter.opts
        }
        written: list[str] = []
        for place, word in enumerate(args):
            following = args[place + 1] if place + 1 < len(args) else "-"
            written += [word, BARE_VALUE] if word in bare and following.startswith("-") else [word]
        return written

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises UsageError for infinity and NaN, which no option means."""
        if not ctx.params.get("quiet"):
            tell_unknown_variables(self, ctx.find_root().command.commands)
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
        if "unexpected extra argument" in came_in and error.ctx is not None:
            takes_store = any(parameter.name == "store" for parameter in error.ctx.command.params)
            allowed = allowed or ("a store is named with --store" if takes_store else "")
        lowered = (text[:1].lower() + text[1:] for text in (came_in, allowed))
        return UsageError(next(lowered), allowed=next(lowered), to_do=to_do)
    allowed = re.sub(r"^Input should be |, unable to .*$", "", error.message)
    allowed = re.sub(r"^Input is not a valid path for .*", "one path", allowed)
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
        if any(re.search(rf"(?<![\w/.-]){re.escape(word)}(?![\w/-])", text) for word in words):
            yield place[0]


def tell_unknown_variables(called: Any, commands: Mapping[str, Any]) -> None:
    """A note for each VTR_ variable that nothing reads: it is a slip, and a silent one.

    Args:
        called: the command, whose own variables are the most likely; then all are asked in turn.
    """
    found = {name for name in os.environ if name.startswith("VTR_")} - OTHER_VARIABLES
    unknown = {
        name
        for name in found
        if not any(name in _variables(each) for each in chain([called], commands.values()))
    }
    if not unknown:
        return
    known = set().union(*map(_variables, commands.values())) | {"VTR_FFMPEG"}
    words = {name.removeprefix("VTR_"): name for name in known}
    for name in sorted(unknown):
        similar = difflib.get_close_matches(name.removeprefix("VTR_"), words, n=1)
        meant = f"did you mean {words[similar[0]]}?" if similar else "`vtr config` shows what holds"
        say(f"note: the variable {name} is no setting of vtr and changes nothing; {meant}")


def _variables(command: Any) -> set[str]:
    return {environment_name(name) for name in option_kinds(command)}
