"""Videos of a store by their names, and the frames that VIDEO[@SECONDS] means."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence

import numpy as np

from vtrcli.errors import InputError
from vtrcli.searching.query import split_place
from vtrcli.store.catalog import Catalog
from vtrcli.times import clock

MAX_NAMES_TO_COMPARE = 20_000


class CatalogPlaces:
    """Places in the videos of stores; those of the first come first."""

    def __init__(self, catalogs: Sequence[Catalog]) -> None:
        self._catalogs = catalogs

    def frames_at(self, value: str) -> np.ndarray:
        """float16 [num_frames, dim]; see `Places`."""
        catalog, video, seconds = self.find(value)
        timestamps = catalog.timestamps(video)
        length = max(catalog.duration(video) or 0.0, float(timestamps[-1]))
        if seconds is not None and seconds > length + 0.5:
            raise InputError(
                f"--like {value}: the video is {clock(length)} long",
                allowed="a time within the video",
                to_do="correct the time behind the @",
            )
        return nearest_frame(catalog.features(video), timestamps, seconds)

    def find(self, value: str) -> tuple[Catalog, int, float | None]:
        """The video that VIDEO[@SECONDS] names, and the time. Raises InputError unless it is one video."""
        name, seconds = split_place(value)
        for wanted, at in ((value, None), (name, seconds)):
            for catalog in self._catalogs:
                matches = _videos_named(catalog, wanted)
                if len(matches) == 1:
                    return catalog, matches[0], at
                if matches:
                    paths = ", ".join(catalog.paths[match] for match in matches[:2])
                    raise _not_one(
                        f"{len(matches)} videos are called {wanted!r}, such as {paths}",
                        "name more of the path",
                    )
        ids = [video_id for catalog in self._catalogs for video_id in catalog.ids[:MAX_NAMES_TO_COMPARE]]
        near = difflib.get_close_matches(name, ids, n=1, cutoff=0.5)
        raise _not_one(
            f"no video {value!r} in store {' or '.join(str(catalog.store) for catalog in self._catalogs)}",
            f"did you mean {near[0]!r}?" if near else "extract it first (`vtr extract`)",
        )


def _not_one(came_in: str, to_do: str) -> InputError:
    return InputError(
        came_in, allowed="--like takes the id, the path or the end of the path of one video", to_do=to_do
    )


def nearest_frame(features: np.ndarray, timestamps: np.ndarray, seconds: float | None) -> np.ndarray:
    """[1, dim]: the frame nearest to a time; all frames for None."""
    if seconds is None:
        return features
    nearest = int(np.argmin(np.abs(timestamps - seconds)))
    return features[nearest : nearest + 1]


def _videos_named(catalog: Catalog, name: str) -> list[int]:
    """By id, else by path, else by the end of a path."""
    if name in catalog.number_of:
        return [catalog.number_of[name]]
    paths = catalog.paths.all()
    absolute = os.path.abspath(name)
    exact = [number for number, path in enumerate(paths) if path == absolute]
    return exact or [number for number, path in enumerate(paths) if path.endswith(f"/{name}")]
