"""`vtr bank`: captions that stand for what people ask, to correct and to judge one live query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vtrcli.cli import options
from vtrcli.cli.options import opt
from vtrcli.cli.output import ProgressBar, count, print_json, print_line, print_rows, say
from vtrcli.cli.runs import chosen_run
from vtrcli.cli.settings import VtrCommand
from vtrcli.errors import InputError, UsageError
from vtrcli.text.streams import TaggerName
from vtrcli.text_files import decode_text

EPILOG = "Example: [bold]vtr bank build --texts captions.txt --store kitchen.store[/bold]"
app = typer.Typer(no_args_is_help=True)  # its help is in cli/app.py


@app.command(cls=VtrCommand, epilog=EPILOG)
def build(
    store: Path = options.STORE,
    texts: Path | None = opt("--texts FILE", "One caption per line.", shown="the data set's"),
    dataset: str | None = options.DATASET,
    annotations: Path | None = options.ANNOTATIONS,
    split: str = opt("--split", "Split whose captions are taken.", default="train"),
    max_captions: int = opt(
        "--max-captions", "A random choice of so many.", default=10_000, min=25, max=100_000
    ),
    seed: int = opt("--seed", "Of that choice.", default=0, min=0, max=options.MAX_SEED),
    tagger: TaggerName = options.TAGGER,
    device: str = options.DEVICE,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Make the bank of a store from captions: a data set's, or any text file's."""
    from vtrcli.text.cache import build_bank

    captions = read_captions(texts) if texts is not None else split_captions(dataset, annotations, split)
    with ProgressBar(unit="captions", quiet=quiet, transient=True) as bar:
        result = build_bank(
            store,
            captions,
            max_texts=max_captions,
            tagger=tagger,
            device=device,
            seed=seed,
            on_progress=bar.update,
        )
    num_videos = prepare(store, device=device, quiet=quiet)
    if json_output:
        body: dict[str, Any] = {
            "store": str(store),
            "path": str(result.path),
            "num_captions": result.num_texts,
        }
        body |= {"num_found": result.num_found, "num_videos": num_videos, **result.unread.to_json()}
        print_json("bank build", body)
        return
    for note in result.unread.notes:
        say(f"note: {note}", quiet=quiet)
    of_all = "" if result.num_texts == result.num_found else f" (of {result.num_found:,} different ones)"
    print_line(f"a bank of {count(result.num_texts, 'caption')}{of_all} for {count(num_videos, 'video')}")


def prepare(store: Path, *, device: str, quiet: bool) -> int:
    """Compute what the bank's captions score, by plain CLIP and by the newest run, so that the first search need not.

    Returns:
        The number of videos.
    """
    from vtrcli.searching.searcher import Searcher

    newest = chosen_run(None, store, quiet=quiet)
    with ProgressBar(unit="shards", quiet=quiet, transient=True) as bar:
        for run in dict.fromkeys((None, newest)):
            searcher = Searcher(store, run=run, device=device, on_progress=bar.update)
            searcher.prepare_bank()
    return searcher.catalog.num_videos


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr bank info --store kitchen.store[/bold]")
def info(store: Path = options.STORE, json_output: bool = options.JSON) -> None:
    """Show the bank of a store, and what its captions score on the videos."""
    from vtrcli.errors import StoreError
    from vtrcli.searching.searcher import Searcher

    searcher = Searcher(store, device="cpu")
    bank, bank_scores = searcher.bank, searcher.finder.bank_scores
    if isinstance(bank, StoreError):
        raise bank
    assert bank_scores is not None  # there is one wherever there is a bank
    body = {
        "store": str(store),
        "num_captions": bank.num_texts,
        "mean_score": round(bank_scores.mean, 4),
        "deviation": round(bank_scores.deviation, 4),
    }
    if json_output:
        print_json("bank info", body)
        return
    print_rows(
        {
            "captions": f"{bank.num_texts:,}",
            "they score": f"{bank_scores.mean:.3f} ± {bank_scores.deviation:.3f} on a video",
            "relevance 3": f"a score of {bank_scores.mean + 3 * bank_scores.deviation:.3f}",
        }
    )


def read_captions(path: Path) -> list[str]:
    """The lines of a text file. Raises InputError when it cannot be read or is no text."""
    try:
        return decode_text(path.read_bytes(), name=str(path)).split("\n")
    except OSError as cause:
        raise InputError(
            f"{path} cannot be read: {cause.strerror}",
            allowed="a text file with one caption per line",
            to_do="check --texts",
        ) from cause


def split_captions(dataset: str | None, annotations: Path | None, split: str) -> list[str]:
    """The captions of a data set's split. Raises UsageError, InputError."""
    from vtrcli.datasets.registry import load_split

    if dataset is None and annotations is None:
        raise UsageError(
            "no captions for the bank",
            allowed="--texts FILE, or --dataset with --annotations",
            to_do="add one of them; captions of the kind of videos that you search are best",
        )
    name, folder = options.require_dataset(dataset, annotations)
    return [caption.text for caption in load_split(name, folder, split).captions]
