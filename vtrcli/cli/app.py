"""The Typer app: the list of commands, their settings, and the one place that turns errors into exit codes.

The module of a command is imported when that command is called or asked for its help: nobody waits for the others.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer._click.exceptions import NoArgsIsHelpError
from typer._click.exceptions import UsageError as ParseError
from typer.core import TyperCommand, TyperGroup

from vtrcli.cli.output import home_relative, log_shown, say, say_error
from vtrcli.cli.settings import WRITES_SETTINGS, VtrCommand, find_settings, load_settings, usage_error
from vtrcli.cli.values import take_quickly
from vtrcli.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, InputError, UsageError, VtrError

if TYPE_CHECKING:  # what `_made` imports, for whoever counts who imports whom
    from vtrcli.cli import (  # noqa: F401
        bank,
        cache,
        compare,
        config,
        datasets,
        demo,
        eval,
        extract,
        init,
        mcp,
        milvus,
        models,
        search,
        serve,
        store,
        train,
    )

# In the order of the help. The line of a command is the first paragraph of its docstring; a test compares them.
LINES = {
    "extract": "Decode frames of videos and store their CLIP features. Run it again: only new or changed files are "
    "done.",
    "cache": "Encode a data set's captions, once per text stream; or kept frames with another backbone (--out).",
    "train": "Train CAMoE on cached features, or with the backbone end to end (--finetune). Ctrl-C saves first.",
    "eval": "Evaluate retrieval in both directions: a data set through a store and a run, or any model's matrix.",
    "compare": "Test whether B is better than A, query by query: a permutation test of the paired differences.",
    "search": "Rank the videos of a store by what they show, each with the moments that fit best.",
    "serve": "Serve a page to search in, and a JSON API, until Ctrl-C.",
    "mcp": "Let a program with a language model search and look, by the Model Context Protocol on stdin and stdout.",
    "demo": "Make short videos, extract them, train on them, search them, and print how well that went. Needs no "
    "network.",
    "init": "Write vtr.toml into this folder; every command run here or below reads it.",
    "config": "Show every option that is set, by the environment or vtr.toml, and the defaults that matter.",
    "store": "Look after a feature store: what it holds, whether it is sound.",
    "milvus": "A store in Milvus, for what outgrows one machine; search it with `vtr search --milvus`.",
    "bank": "The query bank of a store: what unrelated captions score on its videos.",
    "models": "Look after the backbones: which there are, download, import, check.",
    "datasets": "The data sets: what they are, where they come from, what they hold.",
}
OLD_NAMES = {"index": "milvus"}  # still understood, and not shown
# Who asks for these wants no remarks.
QUIET_FLAGS = frozenset({"--quiet", "-q", "--help", "-h"})


class Commands(Mapping[str, Any]):
    """Name -> Typer's command or group, made when it is asked for; names alone import nothing."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter((*LINES, *OLD_NAMES))

    def __len__(self) -> int:
        return len(LINES) + len(OLD_NAMES)

    def __contains__(self, name: object) -> bool:
        return name in LINES or name in OLD_NAMES

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _made(name)
        return self._made[name]

    def listed(self, name: str) -> TyperCommand | None:
        """What a list of commands shows of one: its name and its line. None where there is no such command."""
        line = LINES.get(OLD_NAMES.get(name, name))
        return None if line is None else TyperCommand(name, help=line, hidden=name in OLD_NAMES)


def _made(name: str) -> Any:
    """Import the module of a command, and have Typer make it. Raises KeyError."""
    known = OLD_NAMES.get(name, name)
    line = LINES[known]
    module: Any = import_module(f"vtrcli.cli.{known}")
    root = typer.Typer(add_completion=False, rich_markup_mode="rich")
    root.callback()(_nothing)  # else one command alone is no group
    if hasattr(module, "app"):
        root.add_typer(module.app, name=name, help=line, epilog=module.EPILOG, hidden=name in OLD_NAMES)
    else:
        root.command(name, cls=VtrCommand, epilog=module.EPILOG)(module.command)
    group: Any = typer.main.get_command(root)
    return group.commands[name]


def _nothing() -> None:
    pass


class VtrGroup(TyperGroup):
    """Loads `vtr.toml` for its commands and ends the program with the error's line and exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = Commands()

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of `vtr` itself."""
        return take_quickly(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(self.commands)

    def get_command(self, ctx: Any, name: str) -> Any:
        """Its name and line, for lists of commands; `resolve_command` has the command itself."""
        return self.commands.listed(name)

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """Find the command, and load the settings for it; `vtr init` mends a broken file and so reads none."""
        if args[0] not in self.commands:
            self._require_at_home(args[0])
        name, _, rest = super().resolve_command(ctx, args)
        if name is None:  # while the shell completes
            return None, None, rest
        if name != WRITES_SETTINGS and not ctx.resilient_parsing:
            ctx.default_map = self.settings(name, quiet=bool(QUIET_FLAGS & set(args)))
        return name, self.commands[name], rest

    def _require_at_home(self, name: str) -> None:
        """Raises UsageError for a command that belongs to another."""
        homes = [
            group
            for group, command in self.commands.items()
            if name in getattr(command, "commands", {}) and not command.hidden
        ]
        if homes:
            raise UsageError(
                f"no such command '{name}'",
                allowed="it belongs to another",
                to_do=f"did you mean {' or '.join(f'`vtr {group} {name}`' for group in homes)}?",
            )

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command inside the error boundary."""
        try:
            with _refusals():
                return super().invoke(ctx)
        except VtrError as error:
            if os.environ.get("VTR_DEBUG"):
                raise
            say_error(error)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:  # `| head`: who reads has enough
            raise typer.Exit from None
        except (KeyboardInterrupt, RuntimeError) as error:
            if not comes_of_interrupt(error):
                raise
            typer.echo("vtr: interrupted; what was finished is kept", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    def parse_args(self, ctx: Any, args: Any) -> Any:
        """Read the options of `vtr` itself. `vtr help search` is `vtr search --help`."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        try:
            with _refusals():
                return super().parse_args(ctx, args)
        except VtrError as error:
            say_error(error)
            raise typer.Exit(error.exit_code) from error

    def settings(self, name: str, *, quiet: bool = True) -> dict[str, Any]:
        """Option values from the nearest `vtr.toml`, under the command's name; a sub-command inherits its group's.

        A file from a folder above is named where it sets something for the command.
        """
        path = find_settings(Path.cwd(), on_foreign=lambda foreign: _pass_over(foreign, quiet=quiet))
        if path is None:
            return {}
        values = load_settings(path, self.commands, name)
        if path.parent != Path.cwd() and any(values.values()):
            say(f"settings: {home_relative(path)}", quiet=quiet)
        return {name: values}


def _pass_over(path: Path, *, quiet: bool) -> None:
    say(f"note: {path} belongs to another user and is passed over", quiet=quiet)


@contextmanager
def _refusals() -> Iterator[None]:
    """What the option parser refuses is an error of ours, printed as all others are. Help for no arguments stays."""
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except ParseError as error:
        raise usage_error(error) from error


def _print_version(wanted: bool) -> None:
    if wanted:
        from vtrcli import __version__

        typer.echo(f"vtr {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="vtr",
    cls=VtrGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Text-to-video retrieval: find the moment that a sentence describes.\n\n"
    "Every option can also come from the environment (VTR_STORE for --store) or from vtr.toml (`vtr init`).",
    epilog='Example: [bold]vtr extract ~/Videos[/bold], then [bold]vtr search "a man cooking"[/bold]',
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options of `vtr` itself; its commands are in LINES."""


def comes_of_interrupt(error: BaseException) -> bool:
    """Whether an error is Ctrl-C, or what a lock says when the second one comes while the first lets go of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__context__
    return False


def main() -> None:
    """Entry point of `vtr`: SIGTERM and SIGHUP end a command as Ctrl-C does, so that it saves what it has.

    Whoever closes the pipe has read enough: that ends every command with 0 and no word. A stdout that cannot take the
    results (a full disk) is an error.
    """
    _open_streams()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):  # a file name that is not UTF-8 must not break a table
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    results, code = sys.stdout, None
    pipe, refused = os.dup(results.fileno()), _watched(results)
    try:
        with log_shown(verbose=bool(os.environ.get("VTR_DEBUG"))):
            app()
    except SystemExit as end:
        code = end.code
    except OSError as error:
        if error not in refused:  # it was about something else
            raise
    with suppress(OSError):
        results.flush()
    refusal = refused[0] if refused else None
    if code in (None, 0, EXIT_BUG) and (isinstance(refusal, BrokenPipeError) or _is_closed(pipe)):
        code = EXIT_OK
    elif refusal is not None:
        say_error(
            InputError(
                f"stdout cannot be written: {refusal.strerror}",
                allowed="a disk with room for the results",
                to_do="free some space or write them elsewhere, then run the same command again",
            )
        )
        code = InputError.exit_code
    if refusal is not None:  # what Python could not write must not fail again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), results.fileno())
    if code == EXIT_INTERRUPTED:  # once more, while Python ends: at once and in silence
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _open_streams() -> None:
    """Give closed standard streams (`>&-`) to the null device: a file of the store must not become stdout."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
        os.set_inheritable(descriptor, True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _watched(stream: TextIO) -> list[OSError]:
    """The list into which goes what the system says when the stream does not take what is printed."""
    refused: list[OSError] = []

    def watched(step: Callable[..., Any]) -> Callable[..., Any]:
        def taken(*arguments: Any) -> Any:
            try:
                return step(*arguments)
            except OSError as error:
                refused.append(error)
                raise

        return taken

    stream.write = watched(stream.write)  # type: ignore[method-assign]
    stream.flush = watched(stream.flush)  # type: ignore[method-assign]
    return refused


def _is_closed(pipe: int) -> bool:
    """Whether nobody reads any more what goes into this descriptor."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
