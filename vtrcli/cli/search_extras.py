"""What `vtr search` makes of its results on request: clips, a page of pictures, a player at the moment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtrcli.cli.output import count, say
from vtrcli.cli.progress import ProgressBar

if TYPE_CHECKING:
    from vtrcli.searching.results import Hit, SearchResult


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


def make_gallery(results: Sequence[SearchResult], path: Path, store: Path | None, *, quiet: bool) -> None:
    """Write the page; `store` (None for Milvus) may hold kept frames."""
    from vtrcli.searching.gallery import write_gallery
    from vtrcli.store.reader import FeatureStore

    write_gallery(results, path, store=None if store is None else FeatureStore(store))
    say(f"{path} shows {count(sum(len(result.hits) for result in results), 'result')}", quiet=quiet)


def open_best(hits: Sequence[Hit], *, player: str | None, quiet: bool) -> None:
    """Start the player at the first result that is still there."""
    from vtrcli.searching.player import open_at

    hit = next((hit for hit in hits if not hit.is_missing), None)
    if hit is None:
        say("vtr: there is nothing to open", quiet=quiet)
        return
    sys.stdout.flush()
    opened = open_at(hit.path, hit.moment.start_seconds, template=player)
    if not opened.at_time:
        say(f"vtr: {opened.command[0]} cannot be told the time; mpv, vlc and --player can", quiet=quiet)
