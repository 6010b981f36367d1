"""Where an option's value comes from: flag, environment (VTR_NAME), `vtr.toml`, default - in this order.

`vtr.toml` is looked for in the working folder and those above it. Its top-level keys are options (`store`,
`videos`, `backbone` …) and hold for every command that has the option; a table named like a command holds for
that command alone. Paths in the file are relative to the file.

Who unpacks a stranger's folder did not write its `vtr.toml`, so the file may not say everything: docs/settings.md.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtrcli.cli.output import say
from vtrcli.errors import InputError, UsageError
from vtrcli.text_files import decode_text

if TYPE_CHECKING:
    from vtrcli.store.config import BackboneTag

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SETTINGS_NAME = "vtr.toml"
RUNS_FOLDER = "runs"  # beside it
# These hold a word (`ViT-B/32`, `none`, `train`) or a path: a path where such a file exists beside the settings.
WORDS_OR_PATHS = frozenset({"backbone", "run", "bank"})
# What a file never decides: it may come with a folder that somebody else made.
ONLY_TYPED = {
    "player": "it is a program that is run",
    "token": "it is a secret, which a file that is passed on would give away",
    "report": "a file of that name is overwritten",
    "save_ranks": "a file of that name is overwritten",
    "save_similarities": "a file of that name is overwritten",
}
# Words that win over a file of that name.
WORDS = frozenset({"none", "test", "train", "demo"})


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


def load_settings(path: Path, options: Mapping[str, Mapping[str, OptionKind]]) -> dict[str, dict[str, Any]]:
    """Per command, the option values that the file gives.

    Args:
        options: command -> its options (snake case) and what they hold.

    Raises:
        UsageError: the file is no TOML, or names an option or command that does not exist, or one that a file must not
            set.
    """
    body = _parsed(path)
    everywhere = {_snake(key): value for key, value in body.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in body.items() if isinstance(value, dict)}
    all_options = frozenset(name for kinds in options.values() for name in kinds)
    for key in everywhere:
        _require_known(path, key, all_options, "option")
    for command, table in tables.items():
        _require_known(path, command, frozenset(options), "command")
        for key in table:
            _require_known(path, _snake(key), frozenset(options[command]), f"option of `vtr {command}`")
    for table in (everywhere, *tables.values()):
        for key, value in table.items():
            _require_harmless(path, _snake(key), value)
    return {
        command: {
            name: _located(name, value, names[name], path.parent)
            for name, value in (
                {key: value for key, value in everywhere.items() if key in names}
                | {_snake(key): value for key, value in tables.get(command, {}).items()}
            ).items()
        }
        for command, names in options.items()
    }


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


MAX_LISTED = 30  # more would hide what was meant


def _require_known(path: Path, key: str, known: frozenset[str], kind: str) -> None:
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=1)
    raise UsageError(
        f"{path} names {key!r}, which is no {kind}",
        allowed=f"known: {', '.join(sorted(known))}"
        if len(known) <= MAX_LISTED or not near
        else f"one of the {len(known)} that docs/commands.md lists",
        to_do=f"did you mean {near[0]!r}?" if near else "remove it, or see `vtr --help`",
    )


def _require_harmless(path: Path, key: str, value: Any) -> None:
    """A file may name places and numbers; not what runs, what is overwritten, or where things are sent."""
    flag, variable = f"--{key.replace('_', '-')}", environment_name(key)
    why = ONLY_TYPED.get(key)
    if key == "milvus" and isinstance(value, str) and ("://" in value or value.startswith("unix:")):
        why = "it is an address to which vtr would send what it knows of the videos"
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


def _located(name: str, value: Any, kind: OptionKind, folder: Path) -> Any:
    """Make a relative path of the file independent of the working folder."""
    if kind.is_list and not isinstance(value, list):
        value = [value]
    if isinstance(value, list):
        return [_located_text(name, item, kind, folder) for item in value]
    return _located_text(name, value, kind, folder)


def _located_text(name: str, value: Any, kind: OptionKind, folder: Path) -> Any:
    if not isinstance(value, str):
        # As if it were typed: the parser of options then refuses 1.5 or true for a whole number.
        return value if kind.is_flag and isinstance(value, bool) else json.dumps(value, default=str)
    if value == "-":
        return value
    target = folder / os.path.expanduser(value)
    if kind.is_path or (name in WORDS_OR_PATHS and value not in WORDS and target.exists()):
        return str(target)
    return value


def newest_run(start: Path) -> Path:
    """The newest run beside vtr.toml, or here.

    Raises:
        UsageError: there is none.
    """
    from vtrcli.model.run_folder import by_time

    folder = runs_folder(start)
    runs = by_time(folder)
    if not runs:
        raise UsageError(
            f"no run in {folder}",
            allowed="a run made by `vtr train`",
            to_do="name it with --run (or --out for `vtr train --resume`), or train one",
        )
    return runs[0]


def runs_folder(start: Path) -> Path:
    """Where runs are kept: beside vtr.toml, or here."""
    settings = find_settings(start)
    return (settings.parent if settings else start) / RUNS_FOLDER


def newest_run_of(store: Path, backbone: BackboneTag, *, quiet: bool) -> Path | None:
    """The newest run beside vtr.toml, or here, that fits a store; where a newer one does not, that is told."""
    from vtrcli.model.run_folder import newest_fitting_run

    run, why = newest_fitting_run(runs_folder(Path.cwd()), store, backbone)
    if why is not None:
        say(f"note: {why}: {'plain CLIP' if run is None else f'run {run}'} ranks", quiet=quiet)
    return run
