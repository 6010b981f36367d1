"""The Typer app: settings, the list of commands, and the one place that turns errors into exit codes."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer._click.exceptions import NoArgsIsHelpError
from typer._click.exceptions import UsageError as ParseError
from typer.core import TyperGroup

from vtrcli.cli import init
from vtrcli.cli.output import home_relative, say, say_error
from vtrcli.cli.settings import VtrCommand, find_settings, load_settings, option_kinds, usage_error
from vtrcli.cli.values import take_quickly
from vtrcli.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, InputError, UsageError, VtrError

# Who asks for these wants no remarks.
QUIET_FLAGS = frozenset({"--quiet", "-q", "--help", "-h"})


class VtrGroup(TyperGroup):
    """Loads `vtr.toml` for its commands and ends the program with the error's line and exit code."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of `vtr` itself."""
        return take_quickly(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """Find the command, and load the settings for it; `vtr init` mends a broken file and so reads none."""
        name = args[0]
        homes = [
            group
            for group, command in self.commands.items()
            if name in getattr(command, "commands", {}) and not command.hidden
        ]
        if name not in self.commands and homes:
            raise UsageError(
                f"no such command '{name}'",
                allowed="it belongs to another",
                to_do=f"did you mean {' or '.join(f'`vtr {group} {name}`' for group in homes)}?",
            )
        resolved = super().resolve_command(ctx, args)
        if resolved[0] != init.NAME and not ctx.resilient_parsing:
            ctx.default_map = self.settings(quiet=bool(QUIET_FLAGS & set(args)), chosen=resolved[0] or "")
        return resolved

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

    def settings(self, *, quiet: bool = True, chosen: str = "") -> dict[str, Any]:
        """Option values per command from the nearest `vtr.toml`; a sub-command inherits its group's.

        A file from a folder above is named where it sets something for `chosen`.
        """
        path = find_settings(Path.cwd(), on_foreign=lambda foreign: _pass_over(foreign, quiet=quiet))
        if path is None:
            return {}
        kinds = {name: option_kinds(command) for name, command in self.commands.items() if name != init.NAME}
        loaded: dict[str, Any] = dict(load_settings(path, kinds))
        for name, command in self.commands.items():
            if isinstance(command, TyperGroup):
                loaded[name] = {
                    sub: {key: value for key, value in loaded[name].items() if key in option_kinds(child)}
                    for sub, child in command.commands.items()
                }
        if path.parent != Path.cwd() and any(loaded.get(chosen, {}).values()):
            say(f"settings: {home_relative(path)}", quiet=quiet)
        return loaded


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
    """Hold the options of `vtr` itself; the commands are registered below."""


def _register() -> None:
    """Import every command module; each is small and imports its use case only when it runs."""
    from vtrcli.cli import (
        bank,
        cache,
        compare,
        config,
        datasets,
        demo,
        eval,
        extract,
        mcp,
        milvus,
        models,
        search,
        serve,
        store,
        train,
    )

    for module in (extract, cache, train, eval, compare, search, serve, mcp, demo, init, config):
        app.command(module.NAME, cls=VtrCommand, epilog=module.EPILOG)(module.command)
    for group in (store, milvus, bank, models, datasets):
        app.add_typer(group.app, name=group.NAME, epilog=group.EPILOG)
    app.add_typer(milvus.app, name=milvus.OLD_NAME, epilog=milvus.EPILOG, hidden=True)


_register()


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
    if os.environ.get("VTR_DEBUG"):
        import logging

        logging.basicConfig(format="%(message)s")
        logging.getLogger("vtrcli").setLevel(logging.INFO)
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
