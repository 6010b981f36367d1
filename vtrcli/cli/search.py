"""`vtr search`: rank videos, or moments in them, by a sentence, a picture or another video."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vtrcli.cli import options
from vtrcli.cli.output import print_json, say
from vtrcli.cli.progress import StepBar
from vtrcli.cli.search_extras import make_gallery, open_best, save_hits
from vtrcli.cli.search_output import answer_lines, print_paths, print_table, read_lines, result_json
from vtrcli.cli.settings import find_settings
from vtrcli.cli.units import to_bytes, to_seconds, to_timestamp
from vtrcli.errors import EXIT_SOME_FAILED, UsageError
from vtrcli.milvus.server import shown

if TYPE_CHECKING:
    from vtrcli.milvus.reader import MilvusIndex
    from vtrcli.retrieval.frame_scores import VideoScore
    from vtrcli.searching.background import SearchMethod
    from vtrcli.searching.milvus_searcher import MilvusSearcher
    from vtrcli.searching.searcher import Searcher

NAME = "search"
EPILOG = 'Example: [bold]vtr search "a man cooking" --moments --not "a woman" --gallery found.html[/bold]'


def command(
    query: Annotated[
        list[str] | None, typer.Argument(metavar="[QUERY]", help="What the video shows, as a sentence.")
    ] = None,
    store: options.Store = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many results.")] = 10,
    plus: Annotated[
        list[str] | None, typer.Option("--plus", metavar="TEXT", help="Must also show this; may be repeated.")
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option("--not", metavar="TEXT", help="Must not show this; may be repeated.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option("--image", metavar="FILE", help="Must look like this picture.")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like", metavar="VIDEO[@TIME]", help="Must look like this video, or its frame at a time (1:12)."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="N,N…",
            help="How much each part counts: query, --plus, --not, --image, --like.",
            show_default="1 each, 0.5 for --not",
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries", metavar="FILE", help="One query per line (- for stdin); prints JSON lines."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Rank with a trained run, or none for plain CLIP.",
            show_default="the newest beside vtr.toml",
        ),
    ] = None,
    dsl: Annotated[
        bool, typer.Option("--dsl", help="Correct by the query bank, for this query alone: --method dsl.")
    ] = False,
    method: Annotated[
        str | None,
        typer.Option("--method", help="A correction by the bank: dsl, inverted-softmax, nnn, csls."),
    ] = None,
    min_relevance: Annotated[
        float | None,
        typer.Option(
            "--min-relevance", help="Only results so far above what the bank's captions score; 3 is strict."
        ),
    ] = None,
    score: Annotated[
        Literal["max", "mean", "softmax"] | None,
        typer.Option(
            "--score",
            help="Plain CLIP, where a video's score is its best frame or a mean over its frames.",
            show_default="max",
        ),
    ] = None,
    approximate: Annotated[
        bool | None,
        typer.Option(
            "--approximate/--exact",
            help="Look only at what an HNSW graph proposes; it is made if missing.",
            show_default="exact; approximate for 8 million frames and more, once `vtr index build` made the graph",
        ),
    ] = None,
    moments: Annotated[bool, typer.Option("--moments", help="Rank moments instead of videos.")] = False,
    per_video: Annotated[int, typer.Option("--per-video", min=1, help="Moments of one video at most.")] = 3,
    path: Annotated[
        list[str] | None,
        typer.Option(
            "--path", metavar="GLOB", help="Only such files: '*.mp4', 'kitchen/*'; may be repeated."
        ),
    ] = None,
    min_duration: Annotated[
        str | None,
        typer.Option("--min-duration", metavar="TIME", help="Only videos at least so long (1:30)."),
    ] = None,
    max_duration: Annotated[
        str | None, typer.Option("--max-duration", metavar="TIME", help="Only videos at most so long.")
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="DATE", help="Only files changed since (2019-06-30, 2019)."),
    ] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="DATE", help="Only files changed before.")
    ] = None,
    min_size: Annotated[
        str | None,
        typer.Option("--min-size", metavar="SIZE", help="Only files of at least this size (20MB)."),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", metavar="SIZE", help="Only files of at most this size.")
    ] = None,
    milvus: Annotated[
        str | None,
        typer.Option(
            "--milvus", metavar="URI", help="Search what `vtr index push` put there, without a store."
        ),
    ] = None,
    prefix: options.MilvusPrefix = options.MILVUS_PREFIX,
    token: options.MilvusToken = None,
    milvus_timeout: options.MilvusTimeout = options.MILVUS_TIMEOUT,
    paths_only: Annotated[bool, typer.Option("--paths", help="Print the paths alone, one a line.")] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="As --paths, with a NUL behind each, for xargs -0.")
    ] = False,
    open_player: Annotated[
        bool, typer.Option("--open", help="Open the best result in your player, at the moment.")
    ] = False,
    player: Annotated[
        str | None,
        typer.Option(
            "--player",
            metavar="COMMAND",
            help="Your player for --open: 'mpv --start={seconds} {path}'. No shell sees it; do not put one in it.",
            show_default="mpv, vlc, … whichever is there",
        ),
    ] = None,
    clips: Annotated[
        Path | None, typer.Option("--clips", metavar="DIR", help="Cut the moments into MP4 files there.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", metavar="FILE", help="Write a page with pictures and times.")
    ] = None,
    device: options.Device = options.DEVICE_DEFAULT,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Rank the videos of a store by what they show, each with the moments that fit best."""
    from vtrcli.index.filters import Filters
    from vtrcli.searching.options import SearchOptions
    from vtrcli.searching.query import Query

    folder = options.store_path(store)
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
        approximate=approximate,
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
    if milvus is not None and (approximate is not None or score is not None):
        raise UsageError(
            "--approximate, --exact or --score with --milvus",
            allowed="Milvus has its own index and ranks by the best frame, or by a run",
            to_do="leave them out",
        )
    source = str(folder) if milvus is None else shown(milvus)
    with ExitStack() as stack:
        searcher: Searcher | MilvusSearcher
        if milvus is None:
            searcher = open_searcher(folder, run, score=score, device=device, quiet=quiet)
        else:
            index = stack.enter_context(
                open_milvus(milvus, token=token, prefix=prefix, timeout_seconds=milvus_timeout)
            )
            searcher = milvus_searcher(index, run, device=device, quiet=quiet)
        run_name = searcher.run_name
        if queries is not None:
            lines = read_lines(queries)
            answers = answer_lines(
                lines,
                lambda line: searcher.search(ask(text=line), how),
                store=source,
                run=run_name,
                keep=gallery is not None,
            )
            if gallery is not None:
                make_gallery(answers.results, gallery, None if milvus else folder, quiet=quiet)
            if answers.first_error is not None:
                raise typer.Exit(answers.first_error.exit_code)
            return
        result = searcher.search(asked, how)
    for note in result.notes:
        say(f"vtr: {note}", quiet=quiet)
    saved = save_hits(result.hits, clips, quiet=quiet) if clips is not None else None
    if json_output:
        made = {} if saved is None else {"clips": saved}
        print_json(NAME, result_json(result, store=source, run=run_name, **made))
    elif paths_only or null:
        print_paths(result.hits, end=b"\0" if null else b"\n")
    else:
        print_table(result.hits)
    if gallery is not None:
        make_gallery([result], gallery, None if milvus else folder, quiet=quiet)
    if open_player:
        open_best(result.hits, player=player, quiet=quiet)
    if any(row["clip"] is None for row in saved or ()):
        raise typer.Exit(EXIT_SOME_FAILED)


def open_milvus(uri: str, *, token: str | None, prefix: str, timeout_seconds: float) -> MilvusIndex:
    """The index at an address."""
    from vtrcli.milvus.reader import MilvusIndex

    return MilvusIndex(uri, token=token, prefix=prefix, timeout_seconds=timeout_seconds)


def milvus_searcher(index: MilvusIndex, run: str | None, *, device: str, quiet: bool) -> MilvusSearcher:
    """Searches an index, by the newest run beside vtr.toml where its vectors were pushed and no run was named.

    Vectors of texts are kept in the user's cache folder.
    """
    import platformdirs

    from vtrcli.errors import StoreError, WeightsError
    from vtrcli.searching.milvus_searcher import MilvusSearcher

    cache = platformdirs.user_cache_path("vtr", appauthor=False) / "queries"
    if run is not None:
        named = None if run == "none" else Path(run)
        return MilvusSearcher(index, cache=cache, run=named, device=device)
    newest = newest_run_if_any()
    if newest is not None:
        try:
            return MilvusSearcher(index, cache=cache, run=newest, device=device)
        except (StoreError, WeightsError) as error:
            say(f"vtr: {error.came_in}: plain CLIP ranks", quiet=quiet)
    return MilvusSearcher(index, cache=cache, device=device)


def anchored(pattern: str) -> str:
    """A pattern that begins with ./, ../ or ~ means a place on this machine."""
    if pattern.startswith(("./", "../", "~")):
        return os.path.abspath(os.path.expanduser(pattern))
    return pattern


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
    from vtrcli.searching.background import require_method

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


def open_searcher(
    store: Path, run: str | None, *, score: VideoScore | None = None, device: str, quiet: bool
) -> Searcher:
    """The searcher; with the newest run beside vtr.toml where neither a run nor a score was named and it can be used.

    Raises:
        UsageError: a run and a score: a run has its own.
    """
    from vtrcli.searching.options import POOLING
    from vtrcli.searching.searcher import Searcher

    named = None if run in (None, "none") else Path(str(run))
    if named is not None and score is not None:
        raise UsageError(
            f"--score {score} with --run {run}", allowed="a run scores whole videos", to_do="leave one out"
        )
    if run is None and score is None:
        named = newest_usable_run(store, device=device, quiet=quiet)
    with StepBar(unit="shards", quiet=quiet, transient=True) as bar:
        return Searcher(store, run=named, pooling=score or POOLING, device=device, on_progress=bar.update)


def newest_usable_run(store: Path, *, device: str, quiet: bool) -> Path | None:
    """The newest run beside vtr.toml, unless it has no weights yet or is of another backbone; that is told."""
    from vtrcli.errors import StoreError, WeightsError
    from vtrcli.searching.run_model import RunModel
    from vtrcli.store.config import read_config

    newest = newest_run_if_any()
    if newest is None:
        return None
    backbone = read_config(store).backbone
    try:
        RunModel(newest, source=store, backbone=backbone, device=device)
    except (StoreError, WeightsError) as error:
        say(f"vtr: {error.came_in}: plain CLIP ranks", quiet=quiet)
        return None
    return newest


def newest_run_if_any() -> Path | None:
    """The newest run beside vtr.toml; None without vtr.toml or without a run."""
    from vtrcli.cli.train import newest_run

    if find_settings(Path.cwd()) is None:
        return None
    try:
        return newest_run(Path.cwd())
    except UsageError:
        return None
