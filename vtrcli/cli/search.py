"""`vtr search`: rank videos, or moments in them, by a sentence, a picture or another video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vtrcli.api import open_searcher
from vtrcli.cli import options
from vtrcli.cli.options import arg, flag, opt
from vtrcli.cli.output import ProgressBar, anchored, log_shown, say
from vtrcli.cli.runs import chosen_run, runs_folder, tell_run
from vtrcli.cli.search_output import Output, read_lines
from vtrcli.errors import StoreError, UsageError
from vtrcli.written import to_bytes, to_seconds, to_timestamp

if TYPE_CHECKING:
    from vtrcli.milvus.searcher import MilvusSearcher
    from vtrcli.searching.explain import Explanation
    from vtrcli.searching.interchange import Kind
    from vtrcli.searching.query import Query, VideoScore
    from vtrcli.searching.results import Hit, SearchResult
    from vtrcli.searching.searcher import Searcher
    from vtrcli.searching.several import StoresSearcher
    from vtrcli.serve.client import Server

QUERY, RANKING, FILTERS, RESULTS = "Query", "Ranking", "Filters", "Results"  # panels of the help
EPILOG = 'Example: [bold]vtr search "a man cooking" --moments --not "a woman" --gallery found.html[/bold]'


def command(
    query: list[str] | None = arg("QUERY", "What the video shows, as a sentence.", default=None),
    store: list[Path] = options.STORES,
    top_k: int = opt("--top-k, -k", "How many results.", default=10, min=1),
    plus: list[str] | None = opt("--plus TEXT", "Must also show this; may be repeated.", QUERY),
    minus: list[str] | None = opt("--not TEXT", "Must not show this; may be repeated.", QUERY),
    image: list[Path] | None = opt("--image FILE", "Must look like this picture.", QUERY),
    like: list[str] | None = opt(
        "--like VIDEO[@TIME]", "Must look like this video, or its frame at a time (1:12).", QUERY
    ),
    weights: str | None = opt(
        "--weights N,N…",
        "How much each part counts: query, --plus, --not, --image, --like.",
        QUERY,
        shown="1 each, 0.5 for --not",
    ),
    then: list[str] | None = opt(
        "--then TEXT", "And after that this, in the same video; may be repeated.", QUERY
    ),
    within: str | None = opt(
        "--within TIME", "The most time from one of these moments to the next (30, 1:30).", QUERY, shown="any"
    ),
    queries: Path | None = opt(
        "--queries FILE", "One query per line (- for stdin); prints JSON lines.", QUERY
    ),
    run: str | None = opt(
        "--run RUN",
        "Rank with a trained run, or none for plain CLIP.",
        RANKING,
        shown="the newest beside vtr.toml",
    ),
    dsl: bool = flag("--dsl", "Correct by the query bank, for this query alone: --method dsl.", RANKING),
    method: str | None = opt(
        "--method",
        "A correction by the bank: dsl, inverted-softmax, nnn, csls.",
        RANKING,
        complete=options.search_methods,
    ),
    min_relevance: float | None = opt(
        "--min-relevance", "Only results so far above what the bank's captions score; 3 is strict.", RANKING
    ),
    score: Literal["max", "mean", "softmax"] | None = opt(
        "--score",
        "Plain CLIP, where a video's score is its best frame or a mean over its frames.",
        RANKING,
        shown="max",
    ),
    moments: bool = flag("--moments", "Rank moments instead of videos.", RANKING),
    per_video: int = opt("--per-video", "Moments of one video at most.", RANKING, default=3, min=1),
    path: list[str] | None = opt(
        "--path GLOB",
        "Only such files or folders: '*.mp4', kitchen, ~/Videos/2019; may be repeated.",
        FILTERS,
    ),
    min_duration: str | None = opt("--min-duration TIME", "Only videos at least so long (1:30).", FILTERS),
    max_duration: str | None = opt("--max-duration TIME", "Only videos at most so long.", FILTERS),
    after: str | None = opt("--after DATE", "Only files changed since (2019-06-30, 2019).", FILTERS),
    before: str | None = opt("--before DATE", "Only files changed before.", FILTERS),
    min_size: str | None = opt("--min-size SIZE", "Only files of at least this size (20MB).", FILTERS),
    max_size: str | None = opt("--max-size SIZE", "Only files of at most this size.", FILTERS),
    milvus: str | None = opt(
        "--milvus URI", "Search what `vtr milvus push` put there, without a store.", options.MILVUS
    ),
    prefix: str = options.MILVUS_PREFIX,
    token: str | None = options.MILVUS_TOKEN,
    milvus_timeout: float = options.MILVUS_TIMEOUT,
    paths_only: bool = flag("--paths", "Print the paths alone, one a line.", RESULTS),
    null: bool = flag("--null, -0", "As --paths, with a NUL behind each, for xargs -0.", RESULTS),
    open_player: bool = flag("--open", "Open the best result in your player, at the moment.", RESULTS),
    player: str | None = opt(
        "--player COMMAND",
        "Your player for --open: 'mpv --start={seconds} {path}'. No shell sees it; do not put one in it.",
        RESULTS,
        shown="mpv, vlc, … whichever is there",
    ),
    explain: bool = flag(
        "--explain",
        "Say why the best result is one: its words, gate, experts and frames. For a sentence in one store.",
        RESULTS,
    ),
    clips: Path | None = opt("--clips DIR", "Cut the moments into MP4 files there.", RESULTS),
    gallery: Path | None = opt("--gallery FILE", "Write a page with pictures and times.", RESULTS),
    xml: Path | None = opt(
        "--xml FILE", "Write the moments as a timeline: for Premiere, Resolve and many others.", RESULTS
    ),
    otio: Path | None = opt("--otio FILE", "As OpenTimelineIO: for Resolve, Kdenlive, Flame.", RESULTS),
    fcpxml: Path | None = opt("--fcpxml FILE", "As XML of Final Cut Pro.", RESULTS),
    edl: Path | None = opt("--edl FILE", "As an EDL: for Avid, and whatever else reads one.", RESULTS),
    csv: Path | None = opt("--csv FILE", "As a table of markers, with in and out points.", RESULTS),
    missing: bool = flag("--missing", "Also show videos whose file is gone.", RESULTS),
    no_server: bool = flag("--no-server", "Work alone, also where `vtr serve` runs for the store."),
    device: str = options.DEVICE,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
    verbose: bool = options.VERBOSE,
) -> None:
    """Rank the videos of a store by what they show, each with the moments that fit best."""
    from vtrcli.searching.filters import Filters
    from vtrcli.searching.query import Query, SearchSettings, chosen_method

    folders = list(dict.fromkeys(store))
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
    timelines = chosen_timelines(xml=xml, otio=otio, fcpxml=fcpxml, edl=edl, csv=csv)
    filters = Filters(
        paths=tuple(anchored(pattern) for pattern in path or ()),
        min_duration_seconds=to_seconds(min_duration, option="--min-duration"),
        max_duration_seconds=to_seconds(max_duration, option="--max-duration"),
        min_changed_at=to_timestamp(after, option="--after"),
        max_changed_at=to_timestamp(before, option="--before"),
        min_bytes=to_bytes(min_size, option="--min-size"),
        max_bytes=to_bytes(max_size, option="--max-size"),
    )
    how = SearchSettings(
        top_k=top_k,
        moments=moments,
        per_video=per_video,
        filters=filters,
        method=chosen_method(method, dsl=dsl),
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
        then=tuple(then or ()),
        within_seconds=to_seconds(within, option="--within"),
    )
    text = " ".join(query) if query else None
    if queries is None:
        asked = ask(text=text)  # what is wrong with it is said before anything is loaded
        if explain:
            has_others = len(folders) > 1 or milvus is not None or paths_only or null
            require_explained(asked, has_others=has_others)
    elif explain:
        raise UsageError("--explain with --queries", allowed="it is for one query", to_do="leave one out")
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
    if then and score not in (None, "max"):
        raise UsageError(
            f"--score {score} with --then",
            allowed="a chain is scored by one frame for each sentence",
            to_do="leave one out",
        )
    output = Output(
        sources=tuple(map(str, folders)) if milvus is None else (_shown(milvus),),
        stores=tuple(folders) if milvus is None else (),
        json_output=json_output,
        path_end=(b"\0" if null else b"\n") if paths_only or null else None,
        clips=clips,
        gallery=gallery,
        timelines=timelines,
        player=player,
        open_player=open_player,
        quiet=quiet,
    )
    with ExitStack() as stack:
        stack.enter_context(log_shown(verbose=verbose and not quiet))
        server = None
        is_usual = score is None or (score == "max" and run in (None, "none"))  # else no server answers so
        if milvus is None and is_usual and not (no_server or explain):
            server = running_server(folders, run if score is None else "none", device=device)
            stack.callback(server.close if server else lambda: None)

        @cache
        def searcher() -> Searcher | StoresSearcher | MilvusSearcher:
            opened: Any = (
                open_stores(folders, run, score=score, device=device, quiet=quiet)
                if milvus is None
                else open_milvus(milvus, run, token, prefix, milvus_timeout, device=device, quiet=quiet)
            )
            return stack.enter_context(opened)  # type: ignore[no-any-return]

        @cache
        def tell_choice(server: Server) -> None:
            chosen = server.welcome.run
            tell_run(None if chosen is None else Path(chosen), server.welcome.note, quiet=quiet)

        def answer(asked: Query) -> SearchResult:
            found = None if server is None else server.search(asked, how)
            if server is None or found is None:
                return searcher().search(asked, how)
            tell_choice(server)
            say("answered by the server that runs for the store", quiet=quiet or not verbose)
            return found

        if queries is None:
            why = (lambda hits: explain_best(searcher(), asked.terms[0].value, hits)) if explain else None
            output.one(answer(asked), explain=why)
        else:
            output.many(read_lines(queries), lambda line: answer(ask(text=line)))


def require_explained(asked: Query, *, has_others: bool) -> None:
    """Raises UsageError for what --explain says nothing of: parts of a query, several stores, Milvus, bare paths."""
    is_sentence = asked.is_one_text and not asked.then
    if not is_sentence or has_others:
        raise UsageError(
            f"--explain of {asked.describe()!r}"
            if not is_sentence
            else "--explain of several stores, of --milvus or of --paths",
            allowed="one sentence alone, one store, the table or --json",
            to_do="leave the other parts out",
        )


def explain_best(opened: Any, sentence: str, hits: Sequence[Hit]) -> Explanation | None:
    """Why the first hit of a `Searcher` is one; None without any."""
    from vtrcli.searching.explain import explain

    return explain(opened, sentence, opened.catalog.number_of[hits[0].video_id]) if hits else None


def _shown(uri: str) -> str:
    from vtrcli.milvus.server import shown

    return shown(uri)


def running_server(stores: Sequence[Path], run: str | None, *, device: str) -> Server | None:
    """A server that answers as `open_stores` does here, if there is one."""
    from vtrcli.serve.client import greet

    return greet(stores, run=run, runs=runs_folder(Path.cwd()), device=device)


@contextmanager
def open_stores(
    stores: Sequence[Path], run: str | None, *, score: VideoScore | None, device: str, quiet: bool
) -> Iterator[Searcher | StoresSearcher]:
    """The searcher of one store or of several, with the newest run that fits where neither run nor score was named."""
    chosen = None if run is None and score is not None else chosen_run(run, stores[0], quiet=quiet)
    with ProgressBar(unit="shards", quiet=quiet, transient=True) as bar:
        searcher = open_searcher(stores, run=chosen, score=score, device=device, on_progress=bar.update)
    yield searcher


@contextmanager
def open_milvus(
    uri: str, run: str | None, token: str | None, prefix: str, timeout: float, *, device: str, quiet: bool
) -> Iterator[MilvusSearcher]:
    """The searcher of an address, by the newest run beside vtr.toml where its vectors were pushed and none was named.

    Vectors of texts are kept in the user's cache folder.
    """
    import platformdirs

    from vtrcli.milvus.reader import MilvusIndex
    from vtrcli.milvus.searcher import MilvusSearcher

    cache = platformdirs.user_cache_path("vtr", appauthor=False) / "queries"
    with MilvusIndex(uri, token=token, prefix=prefix, timeout_seconds=timeout) as index:
        chosen = chosen_run(run, Path(index.name), index.backbone, quiet=quiet)
        try:
            searcher = MilvusSearcher(index, cache=cache, run=chosen, device=device)
        except StoreError as error:
            if run is not None or chosen is None:
                raise
            say(f"note: {error.came_in}: plain CLIP ranks", quiet=quiet)  # its vectors were not pushed
            searcher = MilvusSearcher(index, cache=cache, device=device)
        yield searcher


def refuse_two_outputs(*, json_output: bool, paths: bool, queries: bool) -> None:
    """Raises UsageError for options that ask for different things on stdout."""
    if (json_output or queries) and paths:
        raise UsageError(
            f"--paths with {'--json' if json_output else '--queries'}",
            allowed="one kind of output: a table, --json, --paths (or --null), or the lines of --queries",
            to_do="leave one out",
        )


def chosen_timelines(**files: Path | None) -> dict[Kind, Path]:
    """The editor's files that are wanted. Raises UsageError for what cannot be written, before anything is searched."""
    chosen: dict[Any, Path] = {kind: path for kind, path in files.items() if path is not None}
    for kind, path in chosen.items():
        if path.suffix.lower() != f".{kind}":
            raise UsageError(
                f"--{kind} {path}",
                allowed=f"a file that ends in .{kind}",
                to_do=f"write `--{kind} found.{kind}`",
            )
        options.require_folder_of(path)
    if chosen:
        from vtrcli.searching.interchange import check_files

        check_files(chosen)
    return chosen


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
