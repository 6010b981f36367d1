"""Options that several commands share, so that the same flag means the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from vtrcli.cli import completion
from vtrcli.errors import UsageError
from vtrcli.model.families import DEFAULT_BACKBONE

Store = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Feature store.", show_default="the user's data folder"),
]
Stores = Annotated[
    list[Path] | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Feature store; may be repeated, to search several of one backbone.",
        show_default="the user's data folder",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks.")]


def _known_device(device: str) -> str:
    """Refuse a word that no machine has, even where nothing is to be computed; torch knows the rest."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise typer.BadParameter("auto, cpu, cuda, cuda:N or mps")
    return device


Device = Annotated[
    str, typer.Option("--device", callback=_known_device, help="auto, cpu, cuda, cuda:N or mps.")
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        autocompletion=completion.datasets,
        help="Data set, see `vtr datasets list`; csv or jsonl for your own.",
    ),
]
Annotations = Annotated[
    Path | None, typer.Option("--annotations", metavar="DIR", help="Folder of the data set's files.")
]
Tagger = Annotated[Literal["hanta", "spacy"], typer.Option("--tagger", help="Finds nouns and verbs.")]

MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=3,
        help="Tokens of a text that are read, with start and end.",
        show_default="32 or 64, as published for the data set; your own: 77",
    ),
]

Milvus = Annotated[
    str,
    typer.Option(
        "--milvus",
        rich_help_panel="Milvus",
        metavar="URI",
        help="http://host:19530, or a local file that ends in .db.",
    ),
]
MilvusPrefix = Annotated[
    str, typer.Option("--prefix", rich_help_panel="Milvus", help="Begins the names of the collections.")
]
MilvusToken = Annotated[
    str | None,
    typer.Option(
        "--token",
        rich_help_panel="Milvus",
        help="USER:PASSWORD or a key; better by VTR_TOKEN.",
        show_default="none",
    ),
]
MilvusTimeout = Annotated[
    float,
    typer.Option(
        "--milvus-timeout",
        rich_help_panel="Milvus",
        min=0.1,
        max=3600,
        help="Seconds that a call to Milvus may take.",
    ),
]
MILVUS_PREFIX = "vtr"
MILVUS_TIMEOUT = 10.0

DEVICE_DEFAULT = "auto"
MAX_SEED = 2**32 - 1
BACKBONE_DEFAULT = DEFAULT_BACKBONE
BACKBONE_HELP = "ViT-B/32, ViT-B/16, ViT-L/14, ViT-L/14@336px, a file or folder of weights, or demo."


def was_typed(context: typer.Context, name: str) -> bool:
    """Whether the option stands on the command line; settings and environment are for many commands at once."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def store_path(given: Path | None) -> Path:
    """The store to use: what was given, else the user's data folder."""
    if given is not None:
        return given
    import platformdirs

    return platformdirs.user_data_path("vtr", appauthor=False)


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


def require_dataset(dataset: str | None, annotations: Path | None) -> tuple[str, Path]:
    """Data set and folder of its files.

    Raises:
        UsageError: one of them was not given.
    """
    if dataset is None or annotations is None:
        missing = "--dataset" if dataset is None else "--annotations"
        raise UsageError(
            f"{missing} is not set",
            allowed="a data set's name (`vtr datasets list`) and the folder of its files",
            to_do=f"add {missing}, or set it in vtr.toml",
        )
    return dataset, annotations
