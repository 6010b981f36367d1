"""Small pictures of videos, from the frames that a store has kept, as data URIs."""

from __future__ import annotations

import base64
import io

from vtrcli.store.frames import frames_of, open_frame
from vtrcli.store.reader import FeatureStore

LONGEST_SIDE = 160
MAX_THUMBNAILS = 60
_QUALITY = 80


class Thumbnails:
    """One picture per video, made once, and none after the first `MAX_THUMBNAILS` videos: the page stays small."""

    def __init__(self, store: FeatureStore | None) -> None:
        self._store = store
        self._made: dict[str, str | None] = {}

    def of(self, video_id: str) -> str | None:
        """A data URI of the middle frame; None where the store has none.

        Raises:
            StoreError: the kept frames are damaged.
        """
        if video_id not in self._made:
            if self._store is None or len(self._made) >= MAX_THUMBNAILS:
                return None
            self._made[video_id] = _thumbnail(self._store, video_id)
        return self._made[video_id]


def _thumbnail(store: FeatureStore, video_id: str) -> str | None:
    location = store.videos[video_id]
    images = frames_of(store.path, store.shards[location.shard], location)
    if not images:
        return None
    buffer = io.BytesIO()
    try:
        with open_frame(images[len(images) // 2]) as image:
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            image.convert("RGB").save(buffer, "JPEG", quality=_QUALITY)
    except OSError:  # a page without one picture is better than no page
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
