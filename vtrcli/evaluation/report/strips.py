"""Strips of frames: a video from its beginning to its end, under it where the true windows and the answers lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import StoreError, VideoError
from vtrcli.html import Html, picture_uri, tag
from vtrcli.store.frames import frames_of, open_frame
from vtrcli.store.reader import FeatureStore
from vtrcli.times import clock
from vtrcli.video.child import Sessions
from vtrcli.video.cut import frame_at

if TYPE_CHECKING:
    from PIL import Image

NUM_PICTURES = 8
LONGEST_SIDE = 144
TIMEOUT_SECONDS = 10.0
NUM_WORKERS = 4


def strip(
    pictures: Sequence[str | None],
    seconds: float,
    *,
    true: np.ndarray,
    answers: np.ndarray,
) -> Html:
    """Pictures side by side, and below them bars on the same time.

    Args:
        pictures: data URIs of the middles of equal parts of the video; none: bars alone.
        true: float64 [n, 2], answers: float64 [m, 2 or more], seconds; the first answer is the one that counts first.
    """
    cells = [
        tag("img", src=uri, alt="") if uri else tag("span", class_="none")
        for uri in pictures
        if any(pictures)
    ]
    rows = [
        tag("div", *(_bar(window, seconds, "true") for window in true), class_="lane"),
        tag(
            "div",
            # The first is drawn last, over the others.
            *(_bar(window, seconds, "other") for window in answers[:0:-1]),
            *(_bar(window, seconds, "answer") for window in answers[:1]),
            class_="lane",
        ),
    ]
    ends = tag("div", tag("span", "0:00"), tag("span", clock(seconds)), class_="ends")
    return tag("div", tag("div", *cells, class_="cells") if cells else Html(), *rows, ends, class_="strip")


def _bar(window: np.ndarray, seconds: float, kind: str) -> Html:
    """Cut at the ends of the video, and never too narrow to be seen."""
    start, end = (min(max(0.0, float(value) / seconds), 1.0) for value in window[:2])
    style = f"left: {100 * start:.2f}%; width: {100 * (end - start):.2f}%"
    return tag("span", class_=kind, style=style, title=f"{clock(window[0])}–{clock(window[1])}")


def strips_of(store: FeatureStore | None, video_ids: Sequence[str]) -> list[list[str | None]]:
    """Per video the pictures of its strip, as data URIs; None for what cannot be had, nothing for an unknown video.

    From the kept frames, else from the files, a few at a time. No damage is an error: a page without a picture is
    better than no page.
    """
    found: dict[str, list[str | None]] = {}
    wanted = dict.fromkeys(video_id for video_id in video_ids if store and video_id in store.videos)
    if not wanted or store is None:
        return [[] for _ in video_ids]
    pool = ThreadPoolExecutor(min(NUM_WORKERS, os.cpu_count() or 1))
    sessions = Sessions()
    try:
        for video_id in wanted:
            times = _times(store, video_id)
            kept = _kept(store, video_id, times)
            path = store.videos[video_id].record.path
            found[video_id] = kept or list(pool.map(partial(_decoded, path, sessions=sessions), times))
    finally:
        sessions.close()  # after Ctrl-C nothing is waited for
        pool.shutdown(cancel_futures=True)
    return [found.get(video_id, []) for video_id in video_ids]


def _times(store: FeatureStore, video_id: str) -> list[float]:
    seconds = store.videos[video_id].record.duration_seconds or float(store.timestamps(video_id)[-1])
    return [seconds * (number + 0.5) / NUM_PICTURES for number in range(NUM_PICTURES)]


def _kept(store: FeatureStore, video_id: str, times: Sequence[float]) -> list[str | None]:
    """The kept frames nearest to the times; nothing where none were kept."""
    from PIL import Image

    try:
        location = store.videos[video_id]
        images = frames_of(store.path, store.shards[location.shard], location)
        if not images:
            return []
        stamps = store.timestamps(video_id)[: len(images)]
        nearest = [int(np.abs(stamps - time).argmin()) for time in times]
        made = {}
        for number in dict.fromkeys(nearest):
            with open_frame(images[number]) as image:
                made[number] = _uri(image)
        return [made[number] for number in nearest]
    except (StoreError, OSError, ValueError, Image.DecompressionBombError):
        return []


def _decoded(path: str, seconds: float, *, sessions: Sessions) -> str | None:
    from PIL import Image

    if not path:
        return None
    try:
        pixels = frame_at(
            path, seconds, longest_side=LONGEST_SIDE, timeout_seconds=TIMEOUT_SECONDS, sessions=sessions
        )
    except VideoError:
        return None
    return _uri(Image.fromarray(pixels))


def _uri(image: Image.Image) -> str:
    return picture_uri(image, longest_side=LONGEST_SIDE)
