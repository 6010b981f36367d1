"""The moments of search results as small video files of their own, one per result."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from vtrcli.errors import VideoError
from vtrcli.files import make_folder, remove_abandoned
from vtrcli.moments.moment import Moment
from vtrcli.searching.results import Hit
from vtrcli.video.cut import cut_clip
from vtrcli.video.probe import probe

# Shorter moments get some of what surrounds them: one sees nothing in half a second.
MIN_CLIP_SECONDS = 2.0
# Of a longer moment the part around its peak: where a whole film matches, a clip of it is no help.
MAX_CLIP_SECONDS = 120.0
MAX_STEM_BYTES = 80  # three quarters of file systems' 255 stay free
_KEPT = ("L", "M", "N")  # letters, their marks, digits


def save_clips(
    hits: Sequence[Hit],
    folder: Path,
    *,
    max_seconds: float = MAX_CLIP_SECONDS,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> list[tuple[Hit, Path | VideoError]]:
    """Cut the best moment of each hit into `folder` (made if needed), one MP4 after the other.

    Each hit comes back, in order, with the file or with why its video gave none; other videos go on. A file that was
    replaced since it was extracted is not cut (`changed`). Names are like
    `01-pasta-0m12.4s.mp4`: rank, name of the video, where the moment starts. Nothing is overwritten: a name that is
    taken gets a number (`01-pasta-0m12.4s-2.mp4`).

    A moment shorter than MIN_CLIP_SECONDS is widened within its video; of one longer than `max_seconds` the part
    around its peak is taken. A chain is cut from its first moment to its last, however long that is.

    Args:
        on_progress: called with how many are done, and of how many.

    Raises:
        StoreError: the folder cannot be written or the disk is full.
        InputError: a clip would have more than 2 GiB; the ffmpeg that is used has no H.264 encoder.
    """
    _make(folder)
    done: list[tuple[Hit, Path | VideoError]] = []
    for hit in hits:
        try:
            hit.require_file()
            info = probe(hit.path)
            most = math.inf if hit.chain else max_seconds
            start, end = clip_span(
                hit.moment, info.duration_seconds, min_seconds=MIN_CLIP_SECONDS, max_seconds=most
            )
            target = _free(folder / clip_name(hit))
            cut_clip(hit.path, target, start_seconds=start, end_seconds=end, info=info)
            done.append((hit, target))
        except VideoError as error:
            done.append((hit, error))
        on_progress(len(done), len(hits))
    return done


def clip_span(
    moment: Moment, duration_seconds: float | None, *, min_seconds: float, max_seconds: float
) -> tuple[float, float]:
    """Start and end, in seconds, of the clip of a moment: widened around its middle or narrowed around its peak.

    A clip that would reach beyond an end of the video is moved into it; it is shorter only where the video is.
    """
    start, end = moment.start_seconds, moment.end_seconds
    if end - start > max_seconds:
        start = min(max(start, moment.peak_seconds - max_seconds / 2), end - max_seconds)
        return start, start + max_seconds
    if end - start >= min_seconds:
        return start, end
    start = (start + end - min_seconds) / 2
    if duration_seconds is not None:
        # A header that lies must not move the clip away from its moment.
        start = max(min(start, duration_seconds - min_seconds), moment.end_seconds - min_seconds)
    start = max(0.0, start)
    return start, start + min_seconds


def clip_name(hit: Hit) -> str:
    """`01-pasta-0m12.4s.mp4`: no more of the video's own name than letters, digits, `-`, `_` and dots inside."""
    tenths = round(hit.moment.start_seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{hit.rank:02d}-{_clean(Path(hit.path).stem)}-{minutes}m{rest // 10:02d}.{rest % 10}s.mp4"


def _clean(stem: str) -> str:
    """Runs of anything else become one `-`: blanks, path separators, controls, what is not UTF-8."""
    kept = (
        c if unicodedata.category(c)[0] in _KEPT or c in "-_." else " "
        for c in unicodedata.normalize("NFC", stem)
    )
    name = "-".join("".join(kept).split()).encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    return name.strip("-.") or "video"


def _free(path: Path) -> Path:
    """`path`, or with the first number from 2 on where that name is taken."""
    candidate, number = path, 1
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _make(folder: Path) -> None:
    make_folder(
        folder, allowed="clips go into a folder that exists or can be made", to_do="choose another folder"
    )
    remove_abandoned(folder)
