"""Where the results of `vtr search` go: to stdout, and on request into clips, a page of pictures, the player."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vtrcli.cli.output import ProgressBar, count, print_json, say, short_path
from vtrcli.cli.search_output import answer_lines, print_paths, print_table
from vtrcli.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from vtrcli.searching.results import Hit, SearchResult


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
    player: str | None
    open_player: bool
    quiet: bool

    def one(self, result: SearchResult) -> None:
        """The answer to one query. Exit code 5 when a clip could not be cut."""
        for note in result.notes:
            say(f"note: {note}", quiet=self.quiet)
        run = result.run
        if run is not None and result.hits and not self.json_output and self.path_end is None:
            say(f"ranked by {short_path(run)} (--run none: plain CLIP)", quiet=self.quiet, dim=True)
        saved = None if self.clips is None else save_hits(result.hits, self.clips, quiet=self.quiet)
        if self.json_output:
            made = {} if saved is None else {"clips": saved}
            print_json("search", {**result.to_json(), **made})
        elif self.path_end is not None:
            print_paths(result.hits, end=self.path_end)
        else:
            print_table(result.hits)
        if self.gallery is not None:
            make_gallery([result], self.gallery, self.stores, quiet=self.quiet)
        if self.open_player:
            open_best(result.hits, player=self.player, quiet=self.quiet)
        if any(row["clip"] is None for row in saved or ()):
            raise typer.Exit(EXIT_SOME_FAILED)

    def many(self, lines: Iterable[str], answer: Callable[[str], SearchResult]) -> None:
        """The answers to many queries; the exit code is that of the first that cannot be answered."""
        keep = self.gallery is not None
        answers = answer_lines(lines, answer, sources=self.sources, keep=keep)
        if self.gallery is not None:
            make_gallery(answers.results, self.gallery, self.stores, quiet=self.quiet)
        if answers.first_error is not None:
            raise typer.Exit(answers.first_error.exit_code)


def save_hits(hits: Sequence[Hit], folder: Path, *, quiet: bool) -> list[dict[str, Any]]:
    """Cut the moments into `folder`; per hit the clip's path, or why there is none. Keys as in `--json`."""
    from vtrcli.errors import VideoError
    from vtrcli.searching.clips import save_clips

    with ProgressBar(len(hits), unit="clips", quiet=quiet, transient=True) as bar:
        saved = save_clips(hits, folder, on_progress=lambda num_done, total: bar.update(num_done))
    rows: list[dict[str, Any]] = []
    for hit, clip in saved:
        if isinstance(clip, VideoError):
            say(f"failed: {hit.path}: {clip.reason}: {clip.detail}", quiet=quiet)
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
