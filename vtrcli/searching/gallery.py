"""`write_gallery`: search results as one self-contained HTML page. Loads nothing, runs no script, sends nothing."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtrcli import __version__
from vtrcli.errors import StoreError, VideoError
from vtrcli.files import write_whole
from vtrcli.html import Html, document, join, picture_uri, shortened, tag
from vtrcli.moments.moment import Moment
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.store.frames import frames_of, open_frame
from vtrcli.store.reader import FeatureStore
from vtrcli.times import time_span
from vtrcli.video.child import Sessions
from vtrcli.video.cut import frame_at

if TYPE_CHECKING:
    from PIL import Image


# Of all queries together; what comes after is counted, not shown.
MAX_CARDS = 1000
MAX_QUERY_CHARACTERS = 240
MAX_NAME_CHARACTERS = 90
MAX_FOLDER_CHARACTERS = 120
MAX_MORE_MOMENTS = 5
MAX_TWINS = 3
# Cards have the shape that most pictures have, within these bounds: width / height.
_MIN_ASPECT, _MAX_ASPECT = 1.0, 16 / 9
# A picture of nearly that shape fills its card, losing a little at the edges; others are shown whole between bars.
_CLOSE_ASPECT = 0.12
_STYLE = Path(__file__).with_name("gallery.css")
LONGEST_SIDE = 320
# About 15 kB each: the page stays below a few megabytes.
MAX_THUMBNAILS = 200
TIMEOUT_SECONDS = 10.0
NUM_WORKERS = 4


def write_gallery(
    results: Sequence[SearchResult], path: Path, *, stores: Sequence[FeatureStore] = ()
) -> None:
    """Write the page; it is there whole or not at all.

    One card per hit: the frame at the peak of its best moment (of a chain those of its moments, side by side), times,
    score, relevance where there is one, where the file lies; a link to the file at that time unless it is missing or
    was replaced. Pictures come from the stores' kept frames where they have them, else from the video files, a few at a
    time; a file that does not decode has a card without one.

    Raises:
        StoreError: the page cannot be written.
    """
    write_whole(path, gallery_html(results, stores=stores).encode("utf-8"))


def gallery_html(results: Sequence[SearchResult], *, stores: Sequence[FeatureStore] = ()) -> str:
    """The page as a string."""
    shown = _shown(results)
    thumbnails = Thumbnails((part for _, hits in shown for hit in hits for part in _parts(hit)), stores)
    shape = _shape(thumbnails.aspects)
    is_one = len(results) == 1
    title = _query(results[0]) if is_one else f"{len(results):,} searches"
    body = tag(
        "main",
        tag("header", tag("h1", title), Html() if is_one else _contents(results)),
        *(
            _section(result, [_card(hit, thumbnails, shape) for hit in hits], None if is_one else number)
            for number, (result, hits) in enumerate(shown, start=1)
        ),
        tag(
            "footer",
            f"Written by vtr {__version__}. This page is one file: it holds no script and loads nothing. "
            "Its links open the videos where they lie on this machine.",
        ),
        style=f"--shape: {shape:.3f}",
    )
    return document(title, body, style=_STYLE.read_text(encoding="utf-8"))


def _shown(results: Sequence[SearchResult]) -> list[tuple[SearchResult, tuple[Hit, ...]]]:
    """Each result with those of its hits that get a card."""
    shown, room = [], MAX_CARDS
    for result in results:
        shown.append((result, result.hits[:room]))
        room -= len(shown[-1][1])
    return shown


def _shape(aspects: Sequence[float]) -> float:
    aspect = statistics.median(aspects) if aspects else _MAX_ASPECT
    return min(max(aspect, _MIN_ASPECT), _MAX_ASPECT)


def _query(result: SearchResult) -> str:
    return shortened(result.query, num_characters=MAX_QUERY_CHARACTERS) or "Search"


def _contents(results: Sequence[SearchResult]) -> Html:
    """Links to the queries further down."""
    lines = (
        tag("li", tag("a", _query(result), href=f"#query-{number}"))
        for number, result in enumerate(results, start=1)
    )
    return tag("ul", *lines, class_="queries")


def _section(result: SearchResult, cards: Sequence[Html], number: int | None) -> Html:
    heading = Html() if number is None else tag("h2", _query(result), id=f"query-{number}")
    found = f"{_count(len(result.hits), 'result')} from {_count(result.num_videos, 'video')}"
    left_out = len(result.hits) - len(cards)
    if left_out:
        found += f"; {left_out:,} further down the list are not shown on this page"
    notes = tag("ul", *(tag("li", note) for note in result.notes))
    return tag(
        "section",
        heading,
        tag("p", found, class_="quiet"),
        tag("div", notes, class_="notes") if result.notes else Html(),
        tag("ol", *cards, class_="cards"),
    )


def _parts(hit: Hit) -> list[Hit]:
    """What gets a picture: the hit, or each moment of its chain as a hit of its own."""
    return [replace(hit, moments=(step.moment,), chain=()) for step in hit.chain] or [hit]


def _card(hit: Hit, thumbnails: Thumbnails, shape: float) -> Html:
    place = Path(hit.place)
    name = tag("span", shortened(place.name, num_characters=MAX_NAME_CHARACTERS), class_="name")
    frames = [_frame(part, thumbnails.of(part), shape, is_first=not n) for n, part in enumerate(_parts(hit))]
    if hit.chain:
        said = [
            tag("span", shortened(step.sentence, num_characters=MAX_NAME_CHARACTERS)) for step in hit.chain
        ]
        moments = [step.moment for step in hit.chain]
        steps = zip(moments, frames, said, strict=True)
        strip = (_linked(hit, moment, frame, text, class_="play") for moment, frame, text in steps)
        picture: Html = join([tag("div", *strip, class_="strip"), _linked(hit, hit.moment, name)])
    else:
        picture = _linked(hit, hit.moment, *frames, name, class_="play")
    kind = " ".join(word for word, holds in (("missing", hit.trouble), ("chain", hit.chain)) if holds)
    return tag(
        "li",
        picture,
        _figures(hit),
        _more(hit),
        tag("p", _end_of(str(place.parent)), class_="path") if hit.path else Html(),
        _same_files(hit),
        class_=kind or None,
        style=f"--steps: {len(hit.chain)}" if hit.chain else None,
    )


def _frame(hit: Hit, picture: Thumbnail | None, shape: float, *, is_first: bool) -> Html:
    """A picture with its time; the first of a result has its rank and its trouble, too."""
    return tag(
        "span",
        _image(picture, shape)
        if picture
        else tag("span", "no picture" if hit.path else "imported, no file", class_="none"),
        tag("span", str(hit.rank), class_="pill rank") if is_first else Html(),
        tag("span", hit.trouble, class_="pill gone") if is_first and hit.trouble else Html(),
        tag("span", _times(hit.moment), class_="pill time"),
        class_="frame drawn" if picture else "frame",
    )


def _same_files(hit: Hit) -> Html:
    if not hit.twins:
        return Html()
    shown = [_end_of(path) for path in hit.twins[:MAX_TWINS]]
    if len(hit.twins) > MAX_TWINS:
        shown.append(f"{len(hit.twins) - MAX_TWINS:,} more")
    return tag("p", f"same file: {', '.join(shown)}", class_="path")


def _image(picture: Thumbnail, shape: float) -> Html:
    is_close = abs(picture.aspect / shape - 1) < _CLOSE_ASPECT
    return tag("img", src=picture.uri, alt="", class_="fill" if is_close else None)


def _figures(hit: Hit) -> Html:
    score = tag("span", "score ", tag("b", _number(f"{hit.score:.2f}")))
    if hit.relevance is None:
        return tag("p", score, class_="figures")
    relevance = tag("span", "relevance ", tag("b", _number(f"{hit.relevance:+.1f}")))
    return tag("p", score, relevance, class_="figures")


def _more(hit: Hit) -> Html:
    """The hit's further moments."""
    links = [_linked(hit, moment, _times(moment)) for moment in hit.moments[1 : 1 + MAX_MORE_MOMENTS]]
    if not links:
        return Html()
    return tag("p", "also ", join([links[0], *(join([", ", link]) for link in links[1:])]), class_="more")


def _linked(hit: Hit, moment: Moment, *children: object, class_: str | None = None) -> Html:
    """A link that opens the file at the moment (W3C Media Fragments URI 1.0); none where it is another file now."""
    if not hit.can_be_opened:
        return tag("span", *children, class_=class_)
    times = f"#t={moment.start_seconds:.2f},{moment.end_seconds:.2f}"
    return tag("a", *children, href=Path(hit.path).absolute().as_uri() + times, class_=class_)


def _times(moment: Moment) -> str:
    return time_span(moment.start_seconds, moment.end_seconds).replace("-", "–")


def _number(text: str) -> str:
    return text.replace("-", "−")


def _end_of(text: str) -> str:
    """A folder's name; of a long one the end, which tells more."""
    return text if len(text) <= MAX_FOLDER_CHARACTERS else "…" + text[-MAX_FOLDER_CHARACTERS + 1 :]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


@dataclass(frozen=True)
class Thumbnail:
    """`uri`: a JPEG as a data URI; `aspect`: width / height."""

    uri: str
    aspect: float


class Thumbnails:
    """The pictures of hits, all made at once, and handed out `max_thumbnails` times at most; a hit may have none.

    No damage of a file or of the kept frames is an error here: a page without one picture is better than no page.
    """

    def __init__(
        self, hits: Iterable[Hit], stores: Sequence[FeatureStore], *, max_thumbnails: int = MAX_THUMBNAILS
    ) -> None:
        # The same moment, found by several queries, is drawn once.
        chosen = list({_key(hit): hit for hit in islice(hits, max_thumbnails)}.values())
        self._num_left = max_thumbnails
        by_path = {str(store.path): store for store in stores}
        self._made = {_key(hit): _kept_frame(hit, by_path.get(hit.store)) for hit in chosen}
        missing = [hit for hit in chosen if self._made[_key(hit)] is None and hit.can_be_opened]
        self._made |= zip(map(_key, missing), _decoded(missing), strict=True)

    def of(self, hit: Hit) -> Thumbnail | None:
        """The picture at the peak of the hit's best moment, if there is one."""
        picture = self._made.get(_key(hit)) if self._num_left else None
        self._num_left -= picture is not None
        return picture

    @property
    def aspects(self) -> list[float]:
        """Width / height of all pictures."""
        return [made.aspect for made in self._made.values() if made is not None]


def _key(hit: Hit) -> tuple[str, str, float]:
    return hit.store * (not hit.path), hit.place, hit.moment.peak_seconds


def _kept_frame(hit: Hit, store: FeatureStore | None) -> Thumbnail | None:
    """From the kept frame nearest to the peak."""
    from PIL import Image

    if store is None or hit.is_replaced:  # the picture would not be that of the file
        return None
    try:
        location = store.videos.get(hit.video_id)
        images = location and frames_of(store.path, store.shards[location.shard], location)
        if not images:
            return None
        distances = np.abs(store.timestamps(hit.video_id)[: len(images)] - hit.moment.peak_seconds)
        with open_frame(images[int(np.argmin(distances))]) as image:
            return _thumbnail(image)
    except (StoreError, OSError, ValueError, Image.DecompressionBombError):
        return None


def _decoded(hits: Sequence[Hit]) -> list[Thumbnail | None]:
    """A few at a time: each is an ffmpeg of its own."""
    if not hits:
        return []
    pool = ThreadPoolExecutor(min(NUM_WORKERS, os.cpu_count() or 1, len(hits)))
    sessions = Sessions()
    try:
        return list(pool.map(partial(_decode, sessions=sessions), hits))
    finally:
        sessions.close()  # after Ctrl-C nothing is waited for
        pool.shutdown(cancel_futures=True)


def _decode(hit: Hit, *, sessions: Sessions) -> Thumbnail | None:
    from PIL import Image

    try:
        pixels = frame_at(
            hit.path,
            hit.moment.peak_seconds,
            longest_side=LONGEST_SIDE,
            timeout_seconds=TIMEOUT_SECONDS,
            sessions=sessions,
        )
    except VideoError:
        return None
    return _thumbnail(Image.fromarray(pixels))


def _thumbnail(image: Image.Image) -> Thumbnail:
    return Thumbnail(picture_uri(image, longest_side=LONGEST_SIDE), image.width / image.height)
