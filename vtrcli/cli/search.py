"""`vtr search`: rank videos, or moments in them, by a sentence, a picture or another video."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vtrcli.cli import completion, options
from vtrcli.cli.output import anchored
from vtrcli.cli.search_extras import Output
from vtrcli.cli.search_openers import open_milvus, open_stores
from vtrcli.cli.search_output import read_lines
from vtrcli.cli.units import to_bytes, to_seconds, to_timestamp
from vtrcli.errors import UsageError
from vtrcli.milvus.server import shown

if TYPE_CHECKING:
    from vtrcli.milvus.searcher import MilvusSearcher
    from vtrcli.searching.query import SearchMethod
    from vtrcli.searching.searcher import Searcher
    from vtrcli.searching.stores import StoresSearcher

NAME = "search"
EPILOG = 'Example: [bold]vtr search "a man cooking" --moments --not "a woman" --gallery found.html[/bold]'


def command(
    query: Annotated[
        list[str] | None, typer.Argument(metavar="QUERY", help="What the video shows, as a sentence.")
    ] = None,
    store: options.Stores = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many results.")] = 10,
    plus: Annotated[
        list[str] | None,
        typer.Option(
            "--plus", rich_help_panel="Query", metavar="TEXT", help="Must also show this; may be repeated."
        ),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option(
            "--not", rich_help_panel="Query", metavar="TEXT", help="Must not show this; may be repeated."
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", rich_help_panel="Query", metavar="FILE", help="Must look like this picture."),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            rich_help_panel="Query",
            metavar="VIDEO[@TIME]",
            help="Must look like this video, or its frame at a time (1:12).",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            rich_help_panel="Query",
            metavar="N,N…",
            help="How much each part counts: query, --plus, --not, --image, --like.",
            show_default="1 each, 0.5 for --not",
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            rich_help_panel="Query",
            metavar="FILE",
            help="One query per line (- for stdin); prints JSON lines.",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            autocompletion=completion.runs,
            rich_help_panel="Ranking",
            metavar="RUN",
            help="Rank with a trained run, or none for plain CLIP.",
            show_default="the newest beside vtr.toml",
        ),
    ] = None,
    dsl: Annotated[
        bool,
        typer.Option(
            "--dsl",
            rich_help_panel="Ranking",
            help="Correct by the query bank, for this query alone: --method dsl.",
        ),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            autocompletion=completion.search_methods,
            rich_help_panel="Ranking",
            help="A correction by the bank: dsl, inverted-softmax, nnn, csls.",
        ),
    ] = None,
    min_relevance: Annotated[
        float | None,
        typer.Option(
            "--min-relevance",
            rich_help_panel="Ranking",
            help="Only results so far above what the bank's captions score; 3 is strict.",
        ),
    ] = None,
    score: Annotated[
        Literal["max", "mean", "softmax"] | None,
        typer.Option(
            "--score",
            rich_help_panel="Ranking",
            help="Plain CLIP, where a video's score is its best frame or a mean over its frames.",
            show_default="max",
        ),
    ] = None,
    moments: Annotated[
        bool, typer.Option("--moments", rich_help_panel="Ranking", help="Rank moments instead of videos.")
    ] = False,
    per_video: Annotated[
        int,
        typer.Option("--per-video", rich_help_panel="Ranking", min=1, help="Moments of one video at most."),
    ] = 3,
    path: Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            rich_help_panel="Filters",
            metavar="GLOB",
            help="Only such files or folders: '*.mp4', kitchen, ~/Videos/2019; may be repeated.",
        ),
    ] = None,
    min_duration: Annotated[
        str | None,
        typer.Option(
            "--min-duration",
            rich_help_panel="Filters",
            metavar="TIME",
            help="Only videos at least so long (1:30).",
        ),
    ] = None,
    max_duration: Annotated[
        str | None,
        typer.Option(
            "--max-duration", rich_help_panel="Filters", metavar="TIME", help="Only videos at most so long."
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            rich_help_panel="Filters",
            metavar="DATE",
            help="Only files changed since (2019-06-30, 2019).",
        ),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", rich_help_panel="Filters", metavar="DATE", help="Only files changed before."
        ),
    ] = None,
    min_size: Annotated[
        str | None,
        typer.Option(
            "--min-size",
            rich_help_panel="Filters",
            metavar="SIZE",
            help="Only files of at least this size (20MB).",
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", rich_help_panel="Filters", metavar="SIZE", help="Only files of at most this size."
        ),
    ] = None,
    milvus: Annotated[
        str | None,
        typer.Option(
            "--milvus",
            rich_help_panel="Milvus",
            metavar="URI",
            help="Search what `vtr milvus push` put there, without a store.",
        ),
    ] = None,
    prefix: options.MilvusPrefix = options.MILVUS_PREFIX,
    token: options.MilvusToken = None,
    milvus_timeout: options.MilvusTimeout = options.MILVUS_TIMEOUT,
    paths_only: Annotated[
        bool, typer.Option("--paths", rich_help_panel="Results", help="Print the paths alone, one a line.")
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            rich_help_panel="Results",
            help="As --paths, with a NUL behind each, for xargs -0.",
        ),
    ] = False,
    open_player: Annotated[
        bool,
        typer.Option(
            "--open", rich_help_panel="Results", help="Open the best result in your player, at the moment."
        ),
    ] = False,
    player: Annotated[
        str | None,
        typer.Option(
            "--player",
            rich_help_panel="Results",
            metavar="COMMAND",
            help="Your player for --open: 'mpv --start={seconds} {path}'. No shell sees it; do not put one in it.",
            show_default="mpv, vlc, … whichever is there",
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            "--clips", rich_help_panel="Results", metavar="DIR", help="Cut the moments into MP4 files there."
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery",
            rich_help_panel="Results",
            metavar="FILE",
            help="Write a page with pictures and times.",
        ),
    ] = None,
    missing: Annotated[
        bool,
        typer.Option("--missing", rich_help_panel="Results", help="Also show videos whose file is gone."),
    ] = False,
    device: options.Device = options.DEVICE_DEFAULT,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Rank the videos of a store by what they show, each with the moments that fit best."""
    from vtrcli.searching.filters import Filters
    from vtrcli.searching.query import Query, SearchOptions

    folders = list(dict.fromkeys(map(Path, store or [options.store_path(None)])))
    refuse_two_outputs(json_output=json_output, paths=paths_only or null, queries=queries is not None)
    if queries is not None and (open_player or clips is not None):
        raise UsageError(
            "--open or --clips with --queries", allowed="they are for one query", to_do="leave one out"
        )
    if gallery is not None and gallery.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"--gallery {gallery}", allowed="a file that ends in .html", to_do="write `--gallery found.html`"
        )
    options.require_folder_of(gallery)
    filters = Filters(
        paths=tuple(anchored(pattern) for pattern in path or ()),
        min_duration_seconds=to_seconds(min_duration, option="--min-duration"),
        max_duration_seconds=to_seconds(max_duration, option="--max-duration"),
        min_changed_at=to_timestamp(after, option="--after"),
        max_changed_at=to_timestamp(before, option="--before"),
        min_bytes=to_bytes(min_size, option="--min-size"),
        max_bytes=to_bytes(max_size, option="--max-size"),
    )
    how = SearchOptions(
        top_k=top_k,
        moments=moments,
        per_video=per_video,
        filters=filters,
        method=to_method(method, dsl=dsl),
        min_relevance=min_relevance,
        missing=missing,
    )
    ask = partial(
        Query,
        plus=tuple(plus or ()),
        minus=tuple(minus or ()),
        images=tuple(image or ()),
        like=tuple(like or ()),
        weights=to_weights(weights),
    )
    text = " ".join(query) if query else None
    if queries is None:
        asked = ask(text=text)  # what is wrong with it is said before anything is loaded
    elif text is not None:
        raise UsageError(
            "a query beside --queries", allowed="one of them", to_do="add the query as a line of the file"
        )
    if milvus is not None and score is not None:
        raise UsageError(
            f"--score {score} with --milvus",
            allowed="Milvus ranks by the best frame, or by a run",
            to_do="leave one out",
        )
    output = Output(
        sources=tuple(map(str, folders)) if milvus is None else (shown(milvus),),
        stores=tuple(folders) if milvus is None else (),
        json_output=json_output,
        path_end=(b"\0" if null else b"\n") if paths_only or null else None,
        clips=clips,
        gallery=gallery,
        player=player,
        open_player=open_player,
        quiet=quiet,
    )
    with ExitStack() as stack:
        searcher: Searcher | StoresSearcher | MilvusSearcher
        if milvus is None:
            searcher = open_stores(folders, run, score=score, device=device, quiet=quiet)
        else:
            searcher = stack.enter_context(
                open_milvus(
                    milvus,
                    run,
                    token=token,
                    prefix=prefix,
                    timeout_seconds=milvus_timeout,
                    device=device,
                    quiet=quiet,
                )
            )
        if queries is None:
            result = searcher.search(asked, how)
        else:
            lines = read_lines(queries)
            output.many(lines, lambda line: searcher.search(ask(text=line), how))
            return
    output.one(result)


def refuse_two_outputs(*, json_output: bool, paths: bool, queries: bool) -> None:
    """Raises UsageError for options that ask for different things on stdout."""
    if (json_output or queries) and paths:
        raise UsageError(
            f"--paths with {'--json' if json_output else '--queries'}",
            allowed="one kind of output: a table, --json, --paths (or --null), or the lines of --queries",
            to_do="leave one out",
        )


def to_method(name: str | None, *, dsl: bool) -> SearchMethod | None:
    """The correction that was asked for. Raises UsageError for an unknown one, or two."""
    from vtrcli.searching.query import require_method

    if dsl and name not in (None, "dsl"):
        raise UsageError(
            f"--dsl with --method {name}", allowed="one correction", to_do="leave one of them out"
        )
    wanted = "dsl" if dsl else name
    return None if wanted is None or wanted == "none" else require_method(wanted)


def to_weights(text: str | None) -> tuple[float, ...] | None:
    """`2,1,0.5` -> numbers. Raises UsageError for anything else."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--weights {text!r}", allowed="numbers with commas between them", to_do="write `--weights 2,1`"
        ) from None
