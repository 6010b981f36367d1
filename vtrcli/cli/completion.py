"""What the shell proposes for a value: names of backbones, data sets, recipes, corrections, and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import typer

from vtrcli.errors import VtrError

Completion = Callable[[typer.Context, str], list[str]]


def _of(names: Callable[[], Iterable[str]]) -> Completion:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [name for name in names() if name.startswith(incomplete)]
        except (VtrError, OSError):  # Tab is no place for an error; the command itself will say it
            return []

    return complete


def _backbones() -> list[str]:
    from vtrcli.model.models import list_models

    return [entry.name for entry in list_models()]


def _datasets() -> Iterable[str]:
    from vtrcli.datasets.registry import DATASETS

    return DATASETS


def _recipes() -> Iterable[str]:
    from vtrcli.model.train_settings import RECIPES

    return RECIPES


def _methods() -> Iterable[str]:
    from vtrcli.ranking.methods import METHODS

    return METHODS


def _search_methods() -> Iterable[str]:
    from vtrcli.searching.query import SearchMethod

    return get_args(SearchMethod)


def _runs() -> Iterable[str]:
    """`none`, and the runs beside vtr.toml, as paths from here, the newest first."""
    from vtrcli.cli.output import short_path
    from vtrcli.cli.settings import runs_folder

    files = runs_folder(Path.cwd()).glob("*/config.json")
    newest_first = sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True)
    return ["none", *(short_path(str(file.parent)) for file in newest_first)]


backbones, datasets, recipes, runs = _of(_backbones), _of(_datasets), _of(_recipes), _of(_runs)
methods, search_methods = _of(_methods), _of(_search_methods)
