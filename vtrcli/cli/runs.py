"""Which trained run is meant where none is named: the newest beside `vtr.toml`, or here, that fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vtrcli.cli.output import say
from vtrcli.cli.settings import find_settings
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.store.config import BackboneInfo

RUNS_FOLDER = "runs"  # beside vtr.toml


def newest_run(start: Path) -> Path:
    """The newest run beside vtr.toml, or here.

    Raises:
        UsageError: there is none.
    """
    from vtrcli.model.runs import by_time

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


def chosen_run(
    given: str | None, store: Path, backbone: BackboneInfo | None = None, *, quiet: bool
) -> Path | None:
    """The run that is to rank: what was given, else the newest beside vtr.toml, or here, that fits the store.

    None for plain CLIP. Where a newer run does not fit, that is told. `backbone`: the store's, where it is known.
    """
    if given is not None:
        return None if given == "none" else Path(given)
    runs = runs_folder(Path.cwd())
    if not runs.is_dir():  # most searches: nothing of models is imported
        return None
    from vtrcli.model.runs import newest_fitting_run
    from vtrcli.store.config import read_config

    run, why = newest_fitting_run(runs, store, backbone or read_config(store).backbone)
    tell_run(run, why, quiet=quiet)
    return run


def run_chooser(run: str | None, *, quiet: bool) -> Callable[[Path], Path | None]:
    """As `chosen_run`; what it says of a store is said once, however often that is opened."""
    told: set[Path] = set()

    def choose(store: Path) -> Path | None:
        is_told = store in told
        told.add(store)
        return chosen_run(run, store, quiet=quiet or is_told)

    return choose


def tell_run(run: Path | None, why: str | None, *, quiet: bool) -> None:
    """Why the newest run of all does not rank, if so."""
    if why is not None:
        say(f"note: {why}: {'plain CLIP' if run is None else f'run {run}'} ranks", quiet=quiet)
