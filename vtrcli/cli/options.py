"""Options: one line each (`opt`), those that several commands share, so that the same flag means the same everywhere,
and what the shell proposes for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import typer

from vtrcli.cli.output import short_path
from vtrcli.cli.runs import runs_folder
from vtrcli.errors import UsageError, VtrError

if TYPE_CHECKING:
    from vtrcli.text.streams import TaggerName

MAX_SEED = 2**32 - 1
BACKBONE_HELP = (
    "A name of `vtr models list` (ViT-B/32, pe-core-b16 …), hf-hub:ORG/NAME, a file or folder, or demo."
)


def opt(
    usage: str,
    words: str | None = None,
    panel: str | None = None,
    *,
    default: Any = None,
    shown: object = None,
    complete: Callable[[], Iterable[str]] | None = None,
    **more: Any,
) -> Any:
    """One option: `queries: Path | None = opt("--queries, -q FILE", "One query per line.")`.

    Args:
        usage: its flags, and if wanted what stands behind them.
        words: its help.
        panel: the part of the help that it stands in.
        shown: what the help gives as its default, where that is no plain value.
        complete: the values that the shell proposes; None: those of the flag in PROPOSALS.
        more: as `typer.Option` has them: min, max …
    """
    flags, _, metavar = usage.replace(", ", ",").partition(" ")
    return typer.Option(
        default,
        *flags.split(","),
        metavar=metavar or None,
        help=_plain(words),
        rich_help_panel=panel,
        show_default=True if shown is None else str(shown),
        autocompletion=_completion(complete or PROPOSALS.get(flags.split(",")[0])),
        **more,
    )


def _plain(words: str | None) -> str | None:
    """`[texts, dim]` is no markup, and stands in the help as it is."""
    return words and words.replace("[", "\\[")


def flag(usage: str, words: str, panel: str | None = None) -> Any:
    """An option that is given or not."""
    return opt(usage, words, panel, default=False)


def arg(
    metavar: str, words: str, *, default: Any = ..., complete: Callable[[], Iterable[str]] | None = None
) -> Any:
    """One argument; without a `default` it must be given."""
    return typer.Argument(default, metavar=metavar, help=_plain(words), autocompletion=_completion(complete))


def _completion(
    names: Callable[[], Iterable[str]] | None,
) -> Callable[[typer.Context, str], list[str]] | None:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [name for name in names() if name.startswith(incomplete)] if names else []
        except (VtrError, OSError):  # Tab is no place for an error; the command itself will say it
            return []

    return complete if names else None


def backbones() -> list[str]:
    """The names of the backbones that are known or were imported."""
    from vtrcli.model.models import list_models

    return [entry.name for entry in list_models()]


def datasets() -> Iterable[str]:
    """The names of the data sets."""
    from vtrcli.datasets.registry import DATASETS

    return DATASETS


def recipes() -> Iterable[str]:
    """The names of the published settings."""
    from vtrcli.model.train_settings import RECIPES

    return RECIPES


def methods() -> Iterable[str]:
    """The corrections of an evaluation."""
    from vtrcli.ranking.methods import METHODS

    return METHODS


def search_methods() -> Iterable[str]:
    """The corrections of one live query."""
    from vtrcli.searching.query import SearchMethod

    return get_args(SearchMethod)


def runs() -> list[str]:
    """`none`, and the runs beside vtr.toml, as paths from here, the newest first."""
    files = runs_folder(Path.cwd()).glob("*/config.json")
    newest_first = sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True)
    return ["none", *(short_path(str(file.parent)) for file in newest_first)]


# What the shell proposes for the value of a flag, wherever it stands.
PROPOSALS: dict[str, Callable[[], Iterable[str]]] = {
    "--backbone": backbones,
    "--dataset": datasets,
    "--method": methods,
    "--method-b": methods,
    "--recipe": recipes,
    "--run": runs,
}


def _known_device(device: str) -> str:
    """Refuse a word that no machine has, even where nothing is to be computed; torch knows the rest."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise typer.BadParameter("auto, cpu, cuda, cuda:N or mps")
    return device


def user_store() -> Path:
    """The store where none is named: in the user's data folder."""
    import platformdirs

    return platformdirs.user_data_path("vtr", appauthor=False)


def _store(given: Path | None) -> Path:
    return given or user_store()


def stores_or_default(given: list[Path] | None) -> list[Path]:
    """The stores that were named, else the user's."""
    return given or [user_store()]


Precision = Literal["auto", "float16", "bfloat16", "float32"]  # as model.backbone has it, which needs NumPy

# What several commands share, each with its default.
STORE: Path = opt("--store DIR", "Feature store.", shown="the user's data folder", callback=_store)
STORES: list[Path] = opt(
    "--store DIR",
    "Feature store; may be repeated, to search several of one backbone.",
    shown="the user's data folder",
    callback=stores_or_default,
)
SERVED_RUN: str | None = opt(
    "--run RUN", "Rank with a trained run, or none for plain CLIP.", shown="the newest beside vtr.toml"
)
JSON: bool = flag("--json", "Print one JSON object instead of a table.")
QUIET: bool = flag("--quiet, -q", "No progress and no remarks.")
VERBOSE: bool = flag(
    "--verbose, -v", "Say how it was done: by a server, with a kept vector, by NumPy or torch, and why."
)
DEVICE: str = opt("--device", "auto, cpu, cuda, cuda:N or mps.", default="auto", callback=_known_device)
PRECISION: Precision = opt("--precision", "auto, float32, or half of it: float16, bfloat16.", default="auto")
DATASET: str | None = opt("--dataset", "Data set, see `vtr datasets list`; csv or jsonl for your own.")
ANNOTATIONS: Path | None = opt("--annotations DIR", "Folder of the data set's files.")
TAGGER: TaggerName = opt("--tagger", "Finds nouns and verbs; none: captions as a whole.", default="hanta")
MAX_TOKENS: int | None = opt(
    "--max-tokens",
    "Tokens of a text that are read, with start and end.",
    min=3,
    shown="32 or 64, as published for the data set; your own: 77",
)
MILVUS = "Milvus"  # a panel
MILVUS_URI: str = opt(
    "--milvus URI", "http://host:19530, or a local file that ends in .db.", MILVUS, default=...
)
MILVUS_PREFIX: str = opt("--prefix", "Begins the names of the collections.", MILVUS, default="vtr")
MILVUS_TOKEN: str | None = opt(
    "--token", "USER:PASSWORD or a key; better by VTR_TOKEN.", MILVUS, shown="none"
)
MILVUS_TIMEOUT: float = opt(
    "--milvus-timeout", "Seconds that a call to Milvus may take.", MILVUS, default=10.0, min=0.1, max=3600
)


def was_typed(context: typer.Context, name: str) -> bool:
    """Whether the option stands on the command line; settings and environment are for many commands at once."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_typed(
    context: typer.Context, names: Iterable[str], *, beside: str, allowed: str, to_do: str
) -> None:
    """Raise UsageError for the first of these options that stands on the command line: `--NAME beside`."""
    for name in names:
        if was_typed(context, name):
            raise UsageError(f"--{name.replace('_', '-')} {beside}", allowed=allowed, to_do=to_do)


def require_folder_of(path: Path | None) -> None:
    """Say before the work, not after it, that a result cannot be written.

    Raises:
        UsageError: the folder of `path` is not there.
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(
            f"{path} cannot be written",
            allowed="a file in a folder that is there",
            to_do=f"make the folder {path.absolute().parent} first",
        )


def require_cut_folder(folder: Path | None) -> None:
    """Raises UsageError for a folder that is not there: one that was misspelled must not be made."""
    if folder is not None and not folder.is_dir():
        raise UsageError(
            f"--allow-cut {folder}", allowed="a folder that is there", to_do=f"make it first: mkdir {folder}"
        )


def require_serve(command: str) -> None:
    """Raises UsageError where the packages of the extra are not installed."""
    from importlib.util import find_spec

    packages = ("mcp", "pydantic", "starlette", "uvicorn")
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"vtr {command} needs {missing[0]}, which is not installed",
            allowed=", ".join(packages),
            to_do='pip install "vtrcli[serve]"',
        )


def require_ending(path: Path | None, *, option: str, endings: tuple[str, ...]) -> None:
    """Raise UsageError for a file that is written and is not called what it is: often one that was to be read."""
    if path is not None and path.suffix.lower() not in endings:
        raise UsageError(
            f"{option} {path}",
            allowed=f"a file that ends in {' or '.join(endings)}",
            to_do=f"write {option} {path.with_suffix(endings[0])}",
        )


def require_apart(written: Iterable[Path | None], read: Iterable[Path | None]) -> None:
    """Raise UsageError where a result would be written over a file that is read for it, or over another result."""
    taken = {path.absolute() for path in read if path is not None}
    for path in written:
        if path is not None and path.absolute() in taken:
            raise UsageError(
                f"{path} is named twice, and would be written over",
                allowed="a result has a file of its own",
                to_do="choose another name",
            )
        if path is not None:
            taken.add(path.absolute())


def require_dataset(
    dataset: str | None, annotations: Path | None, *, is_typed: bool = False
) -> tuple[str, Path]:
    """Data set and folder of its files; `is_typed` where vtr.toml does not set them.

    Raises:
        UsageError: one of them was not given.
    """
    if dataset is None or annotations is None:
        missing = "--dataset" if dataset is None else "--annotations"
        raise UsageError(
            f"{missing} is not set",
            allowed="a data set's name (`vtr datasets list`) and the folder of its files",
            to_do=f"add {missing}"
            + ("; here vtr.toml does not set it" if is_typed else ", or set it in vtr.toml"),
        )
    return dataset, annotations


def to_numbers(text: str | None, *, option: str, whole: bool = False) -> tuple[float, ...]:
    """1,16,256 as numbers above 0. Raises UsageError for anything else."""
    if text is None:
        return ()
    try:
        values = tuple(float(int(part)) if whole else float(part) for part in text.split(","))
        if any(not value > 0 for value in values):
            raise ValueError
        return values
    except ValueError:
        raise UsageError(
            f"{option} {text}",
            allowed=f"{'whole ' * whole}numbers above 0, separated by commas",
            to_do=f"write for example {option} {'1,16,256' if whole else '0.5,1,2'}",
        ) from None
