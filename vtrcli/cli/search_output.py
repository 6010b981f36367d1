"""Where the results of `vtr search` go: a table for people, JSON and bare paths for programs; and on request clips, a
page of pictures, the player.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vtrcli.cli.output import ProgressBar, count, print_json, say, short_path, stdout
from vtrcli.errors import EXIT_SOME_FAILED, InputError, VtrError, printable
from vtrcli.text_files import decoded_lines
from vtrcli.times import clock, time_span, time_spans

if TYPE_CHECKING:
    from rich.text import Text

    from vtrcli.moments.moment import Moment
    from vtrcli.searching.explain import Explanation
    from vtrcli.searching.interchange import Kind
    from vtrcli.searching.results import Hit, SearchResult
    from vtrcli.searching.timeline import Timeline

MAX_SHOWN_TWINS = 2


@dataclass(frozen=True, kw_only=True)
class Output:
    """What was asked for. `sources` name the stores or the address, `stores` may hold kept frames (none: Milvus);
    `path_end` is what stands behind each path where paths alone are printed."""

    sources: tuple[str, ...]
    stores: tuple[Path, ...]
    json_output: bool
    path_end: bytes | None
    clips: Path | None
    gallery: Path | None
    timelines: Mapping[Kind, Path]
    player: str | None
    open_player: bool
    quiet: bool

    def one(
        self, result: SearchResult, *, explain: Callable[[Sequence[Hit]], Explanation | None] | None = None
    ) -> None:
        """The answer to one query, and why its first hit is one. Exit code 5 when a clip could not be cut, or a moment
        is on no timeline."""
        for note in result.notes:
            say(f"note: {note}", quiet=self.quiet)
        run = result.run
        if run is not None and result.hits and not self.json_output and self.path_end is None:
            say(f"ranked by {short_path(run)} (--run none: plain CLIP)", quiet=self.quiet, dim=True)
        saved = None if self.clips is None else save_hits(result.hits, self.clips, quiet=self.quiet)
        timeline = make_timeline([result], self.timelines, quiet=self.quiet) if self.timelines else None
        why = None if explain is None else explain(result.hits)
        if self.json_output:
            made: dict[str, Any] = {} if saved is None else {"clips": saved}
            made |= {} if timeline is None else {"timeline": timeline.to_json()}
            made |= {} if why is None else {"explanation": why.to_json()}
            print_json("search", {**result.to_json(), **made})
        elif self.path_end is not None:
            print_paths(result.hits, end=self.path_end)
        else:
            print_table(result.hits)
            if why is not None:
                from vtrcli.cli.explain import print_explanation

                print_explanation(why)
        if self.gallery is not None:
            make_gallery([result], self.gallery, self.stores, quiet=self.quiet)
        if self.open_player:
            open_best(result.hits, player=self.player, quiet=self.quiet)
        if any(row["clip"] is None for row in saved or ()) or (timeline and timeline.failures):
            raise typer.Exit(EXIT_SOME_FAILED)

    def many(self, lines: Iterable[str], answer: Callable[[str], SearchResult]) -> None:
        """One JSON object per query, each written as soon as it is known; `error` where there is no answer.

        The exit code is that of the first query that cannot be answered.
        """
        from vtrcli.text.scripts import SCRIPT_NOTE

        results: list[SearchResult] = []
        told_of_scripts = False
        first_error: VtrError | None = None
        for line in lines:
            try:
                result = answer(line)
                if self.gallery is not None or self.timelines:
                    results.append(result)
                print_json("search", result.to_json())
                if result.unread_scripts and not told_of_scripts:
                    told_of_scripts = True
                    for note in filter(lambda note: note.startswith(SCRIPT_NOTE), result.notes):
                        say(f"note: {note}", quiet=self.quiet)
            except InputError as error:
                only = self.sources[0] if len(self.sources) == 1 else None
                body = {"query": line, "store": only, "stores": list(self.sources), "error": str(error)}
                print_json("search", body)
                first_error = first_error or error
            sys.stdout.flush()
        if self.gallery is not None:
            make_gallery(results, self.gallery, self.stores, quiet=self.quiet)
        timeline = make_timeline(results, self.timelines, quiet=self.quiet) if self.timelines else None
        if first_error is not None:
            raise typer.Exit(first_error.exit_code)
        if timeline and timeline.failures:
            raise typer.Exit(EXIT_SOME_FAILED)


def save_hits(hits: Sequence[Hit], folder: Path, *, quiet: bool) -> list[dict[str, Any]]:
    """Cut the moments into `folder`; per hit the clip's path, or why there is none. Keys as in `--json`."""
    from vtrcli.errors import VideoError
    from vtrcli.searching.clips import save_clips

    with ProgressBar(unit="clips", quiet=quiet, transient=True) as bar:
        saved = save_clips(hits, folder, on_progress=bar.update)
    rows: list[dict[str, Any]] = []
    for hit, clip in saved:
        if isinstance(clip, VideoError):
            say(f"failed: {hit.place}: {clip.reason}: {clip.detail}", quiet=quiet)
            rows.append({"rank": hit.rank, "clip": None, "reason": clip.reason, "detail": clip.detail})
        else:
            rows.append({"rank": hit.rank, "clip": str(clip)})
    num_made = sum(row["clip"] is not None for row in rows)
    say(f"{count(num_made, 'clip')} in {folder}", quiet=quiet)
    return rows


def make_gallery(results: Sequence[SearchResult], path: Path, stores: Sequence[Path], *, quiet: bool) -> None:
    """Write the page; `stores` (none for Milvus) may hold kept frames."""
    from vtrcli.searching.gallery import write_gallery
    from vtrcli.store.reader import FeatureStore

    write_gallery(results, path, stores=[FeatureStore(store) for store in stores])
    say(f"{path} shows {count(sum(len(result.hits) for result in results), 'result')}", quiet=quiet)


def make_timeline(results: Sequence[SearchResult], files: Mapping[Kind, Path], *, quiet: bool) -> Timeline:
    """Write the editor's files, and say what is left out and what an editor should know."""
    from vtrcli.searching.interchange import write_timeline

    with ProgressBar(unit="videos", quiet=quiet, transient=True) as bar:
        timeline = write_timeline(results, files, on_progress=bar.update)
    for hit, error in timeline.failures:
        say(f"failed: {hit.place}: {error.reason}: {error.detail}", quiet=quiet)
    for note in timeline.notes:
        say(f"note: {note}", quiet=quiet)
    if not timeline.cuts:
        say("note: no moment to write: there is no timeline", quiet=quiet)
        return timeline
    names = ", ".join(map(str, files.values()))
    moments = f"{count(len(timeline.cuts), 'moment')}, {clock(timeline.num_frames / timeline.rate)}"
    say(f"{names}: {moments} at {timeline.rate_name} frames per second", quiet=quiet)
    return timeline


def open_best(hits: Sequence[Hit], *, player: str | None, quiet: bool) -> None:
    """Start the player at the first result whose file is there and still what was found."""
    from vtrcli.searching.player import open_at

    hit = next((hit for hit in hits if hit.can_be_opened), None)
    if hit is None:
        say("note: there is nothing to open", quiet=quiet)
        return
    sys.stdout.flush()
    opened = open_at(hit.path, hit.moment.start_seconds, template=player)
    if not opened.at_time:
        say(f"note: {opened.command[0]} cannot be told the time; mpv, vlc and --player can", quiet=quiet)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file or (-) of stdin that are not blank, as they come. Raises InputError for no text file."""
    is_stdin = str(path) == "-"
    try:
        with nullcontext(sys.stdin.buffer) if is_stdin else open(path, "rb") as file:
            for line in decoded_lines(file, name="the queries on stdin" if is_stdin else str(path)):
                if text := line.strip():
                    yield text
    except OSError as cause:
        raise InputError(
            f"{path} cannot be read: {cause.strerror}",
            allowed="a text file with one query per line, or - for stdin",
            to_do="check --queries",
        ) from cause


def print_table(hits: Sequence[Hit], *, start: Path | None = None) -> None:
    """Rank, score, relevance where there is one, time span, path, and further moments.

    Path and times are links where the terminal has links. `start`: the folder that paths are shown from, by default
    the working folder.
    """
    if not hits:
        return
    from rich.table import Table
    from rich.text import Text

    has_relevance = any(hit.relevance is not None for hit in hits)
    rows = [
        (
            str(hit.rank),
            f"{hit.score:.2f}",
            *(["" if hit.relevance is None else f"{hit.relevance:+.1f}"] if has_relevance else []),
            _spans(hit).plain,
        )
        for hit in hits
    ]
    table = Table.grid(padding=(0, 2), pad_edge=False)
    # Numbers and times never shrink; a path that is too long for the terminal goes on in the next line.
    for column in zip(*rows, strict=True):
        table.add_column(justify="right", no_wrap=True, min_width=max(map(len, column)))
    table.columns[-1].justify = "left"
    table.columns[0].style, table.columns[-1].style = "dim", "cyan"
    table.add_column(overflow="fold")
    for hit, row in zip(hits, rows, strict=True):
        name = printable(short_path(hit.path, start=start) if hit.path else hit.video_id)
        path = Text(f"{name} ({hit.trouble})", style="dim") if hit.trouble else _linked(name, hit)
        if len(hit.moments) > 1:
            path.append("  also ", style="dim")
            path.append_text(Text(", ", style="dim").join(_span(hit, moment) for moment in hit.moments[1:]))
        if hit.twins:
            path.append(f"  same file: {_listed(hit.twins)}", style="dim")
        table.add_row(*row[:-1], _spans(hit), path)
    stdout().print(table)


def _listed(paths: Sequence[str]) -> str:
    """A few paths, and how many more."""
    names = [printable(short_path(path)) for path in paths[:MAX_SHOWN_TWINS]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _spans(hit: Hit) -> Text:
    """The times of a result: of its moment, or of each moment of its chain."""
    from rich.text import Text

    steps = [step.moment for step in hit.chain] or [hit.moment]
    shown = time_spans([(moment.start_seconds, moment.end_seconds) for moment in steps])
    return Text(" then ", style="dim").join(
        _at(span, hit, moment) for span, moment in zip(shown, steps, strict=True)
    )


def _span(hit: Hit, moment: Moment) -> Text:
    return _at(time_span(moment.start_seconds, moment.end_seconds), hit, moment)


def _at(span: str, hit: Hit, moment: Moment) -> Text:
    return _linked(span, hit, fragment=f"#t={moment.start_seconds:.1f}")


def _linked(text: str, hit: Hit, *, fragment: str = "") -> Text:
    from rich.style import Style
    from rich.text import Text

    if not hit.can_be_opened or not _is_file_name(hit.path):
        return Text(text)
    return Text().append(text, style=Style(link=Path(hit.path).absolute().as_uri() + fragment))


def _is_file_name(path: str) -> bool:
    """Whether the system can have a file of that name."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def print_paths(hits: Iterable[Hit], *, end: bytes) -> None:
    """The paths of files that are there and still what was found, each once and byte for byte, for pipes."""
    # surrogateescape gives back what was no UTF-8; a name with other lone surrogates cannot be a file's.
    paths = dict.fromkeys(
        hit.path.encode("utf-8", "surrogateescape" if _is_file_name(hit.path) else "replace")
        for hit in hits
        if hit.can_be_opened
    )
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(path + end for path in paths))
    sys.stdout.buffer.flush()
