"""Small pictures of moments as data URIs: from a store's kept frames, else decoded from the video files."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import StoreError, VideoError
from vtrcli.searching.results import Hit
from vtrcli.store.frames import frames_of, open_frame
from vtrcli.store.reader import FeatureStore
from vtrcli.video.child import Sessions
from vtrcli.video.cut import frame_at

if TYPE_CHECKING:
    from PIL import Image

LONGEST_SIDE = 320
# About 15 kB each: the page stays below a few megabytes.
MAX_THUMBNAILS = 200
TIMEOUT_SECONDS = 10.0
NUM_WORKERS = 4
_QUALITY = 78


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


def _key(hit: Hit) -> tuple[str, float]:
    return hit.path, hit.moment.peak_seconds


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
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(uri, image.width / image.height)
