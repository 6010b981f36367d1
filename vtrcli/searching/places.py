"""Videos of a store by their names, and the frames that VIDEO[@SECONDS] means."""

from __future__ import annotations

import difflib
import os

import numpy as np

from vtrcli.errors import InputError
from vtrcli.index.catalog import Catalog
from vtrcli.searching.query import split_place
from vtrcli.times import clock

MAX_NAMES_TO_COMPARE = 20_000


class CatalogPlaces:
    """Places in the videos of a store."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def frames_at(self, value: str) -> np.ndarray:
        """float16 [num_frames, dim]; see `Places`."""
        video, seconds = find_place(self._catalog, value)
        timestamps = self._catalog.timestamps(video)
        length = max(self._catalog.duration(video) or 0.0, float(timestamps[-1]))
        if seconds is not None and seconds > length + 0.5:
            raise InputError(
                f"--like {value}: the video is {clock(length)} long",
                allowed="a time within the video",
                to_do="correct the time behind the @",
            )
        features = self._catalog.features(video)
        return nearest_frame(features, timestamps, seconds)


def nearest_frame(features: np.ndarray, timestamps: np.ndarray, seconds: float | None) -> np.ndarray:
    """[1, dim]: the frame nearest to a time; all frames for None."""
    if seconds is None:
        return features
    nearest = int(np.argmin(np.abs(timestamps - seconds)))
    return features[nearest : nearest + 1]


def find_place(catalog: Catalog, value: str) -> tuple[int, float | None]:
    """Number of the video that VIDEO[@SECONDS] names, and the time. Raises InputError unless it is one video."""
    matches = _videos_named(catalog, value)
    seconds = None
    if not matches:
        name, seconds = split_place(value)
        matches = _videos_named(catalog, name)
    if len(matches) == 1:
        return matches[0], seconds
    paths = catalog.paths
    if matches:
        came_in = (
            f"{len(matches)} videos are called {value!r}, such as {', '.join(paths[m] for m in matches[:2])}"
        )
        to_do = "name more of the path"
    else:
        came_in = f"no video {value!r} in store {catalog.store}"
        near = difflib.get_close_matches(
            split_place(value)[0], catalog.ids.all()[:MAX_NAMES_TO_COMPARE], n=1, cutoff=0.5
        )
        to_do = f"did you mean {near[0]!r}?" if near else "extract it first (`vtr extract`)"
    raise InputError(
        came_in, allowed="--like takes the id, the path or the end of the path of one video", to_do=to_do
    )


def _videos_named(catalog: Catalog, name: str) -> list[int]:
    """By id, else by path, else by the end of a path."""
    if name in catalog.number_of:
        return [catalog.number_of[name]]
    paths = catalog.paths.all()
    absolute = os.path.abspath(name)
    exact = [number for number, path in enumerate(paths) if path == absolute]
    return exact or [number for number, path in enumerate(paths) if path.endswith(f"/{name}")]
