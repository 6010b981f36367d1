"""Which videos can be shown: whether their files are there and still what was extracted, and which are the same.

Looked for only as far down a ranking as results are wanted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.searching.results import Hit
from vtrcli.store.catalog import Catalog, hashed, masked
from vtrcli.store.records import file_content, file_state
from vtrcli.store.roots import read_roots

State = Literal["there", "missing", "replaced", "none"]  # none: imported features, of which no file is known

# A disk that is gone or slow must not keep a search from answering.
MAX_LOOKS, MAX_LOOK_SECONDS = 20_000, 3.0
MAX_NAMED_TWINS = 100
# Of a file that was touched or renamed the ends decide; of a small one that was touched the whole.
WHOLE_BYTES = 16 << 20


class Presence:
    """The files of a catalogue's videos at one moment.

    Attributes:
        is_exhausted: whether it was given up to look further.
        num_better: videos without a file that would have been results.
    """

    def __init__(self, catalog: Catalog, *, show_missing: bool) -> None:
        self._catalog, self.show_missing = catalog, show_missing
        self._states: dict[int, State] = {}
        self._has_folder: dict[str, bool] = {}
        self._num_looks, self._look_seconds = 0, 0.0
        self.is_exhausted = False
        self.num_better = 0

    @property
    def missing(self) -> list[int]:
        """The videos that were looked for and have no file."""
        return [video for video, state in self._states.items() if state == "missing"]

    def state(self, video: int) -> State:
        """What has become of a video's file."""
        if video not in self._states:
            self._states[video] = self._look(video)
        return self._states[video]

    def keep(self, videos: Sequence[int], allowed: np.ndarray) -> list[int]:
        """Those of a ranking's beginning that can be shown.

        The others, and the twins of those that are kept, are taken out of `allowed`, bool [num_videos].
        """
        kept = []
        for video in videos:
            if not allowed[video] or not self._can_be_shown(video, allowed):
                allowed[video] = False
                continue
            allowed[self._catalog.twins(video)] = False
            allowed[video] = True
            kept.append(video)
        return kept

    def named_twins(self, video: int, allowed: np.ndarray) -> tuple[str, ...]:
        """Paths of the other files of the same content that pass and are there (or missing ones are shown)."""
        others = [twin for twin in self._catalog.twins(video) if twin != video and allowed[twin]]
        paths = self._catalog.paths
        return tuple(
            paths[twin]
            for twin in others[:MAX_NAMED_TWINS]
            if self.show_missing or not (self._is_unknown(twin) or self.state(twin) == "missing")
        )

    def lost_folders(self) -> list[str]:
        """Folders that videos were extracted from and that are not there now, such as disks."""
        try:
            roots = read_roots(self._catalog.store).by_name.values()
        except StoreError:
            return []
        return sorted(root.folder for root in roots if not root.is_there())

    def _is_unknown(self, video: int) -> bool:
        return self.is_exhausted and video not in self._states

    def _can_be_shown(self, video: int, allowed: np.ndarray) -> bool:
        if self._is_unknown(video):
            return False
        if self.state(video) != "missing":
            return True
        if not self.show_missing:
            return False
        others = (twin for twin in self._catalog.twins(video)[:MAX_NAMED_TWINS] if twin != video)
        return not any(allowed[twin] and self.state(twin) != "missing" for twin in others)

    def _look(self, video: int) -> State:
        path = self._catalog.paths[video]
        if not path:
            return "none"
        folder = os.path.dirname(path)
        if not self._has_folder.get(folder, True):  # a whole disk may be gone
            return "missing"
        started = time.monotonic()
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # ValueError: no file can have such a name
            self._has_folder[folder] = os.path.isdir(folder)
            return "missing"
        finally:
            self._num_looks += 1
            self._look_seconds += time.monotonic() - started
            self.is_exhausted = self._num_looks >= MAX_LOOKS or self._look_seconds >= MAX_LOOK_SECONDS
        return "there" if self._is_same(video, path, status) else "replaced"

    def _is_same(self, video: int, path: str, status: os.stat_result) -> bool:
        """Whether the file is the one that was extracted: by its times, which nobody can set both, else by content."""
        known = {
            name: int(self._catalog[name][video]) for name in ("num_bytes", "mtime_ns", "inode", "ctime_ns")
        }
        if known["num_bytes"] != status.st_size:
            return False
        is_untouched = known["mtime_ns"] == status.st_mtime_ns
        if is_untouched and known["ctime_ns"] in (-1, masked(status.st_ctime_ns)):
            return True
        try:
            if hashed(file_state(Path(path)).fingerprint) != self._catalog["fingerprint"][video]:
                return False
            content = int(self._catalog["content"][video])
            is_renamed = is_untouched and known["inode"] == masked(status.st_ino)
            if content == 0 or is_renamed or status.st_size > WHOLE_BYTES:
                return True
            return hashed(file_content(Path(path))) == content
        except OSError:  # it cannot be read, and so neither be cut nor drawn
            return True


def each_once(ranked: Sequence[tuple[Catalog, Hit]]) -> list[Hit]:
    """The hits without those whose content another store gave a better one; they are named as twins of that."""
    # Content -> the store of the video that stands for it, and its place.
    first: dict[tuple[int, int], tuple[str, int]] = {}
    kept: list[Hit] = []
    for catalog, hit in ranked:
        video = catalog.number_of[hit.video_id]
        if not hit.path:
            kept.append(hit)
            continue
        content = int(catalog["num_bytes"][video]), int(catalog["fingerprint"][video])
        owner, place = first.setdefault(content, (hit.store, len(kept)))
        if owner == hit.store:
            kept.append(hit)
            continue
        paths = (path for path in (hit.path, *hit.twins) if path != kept[place].path)
        kept[place] = replace(kept[place], twins=tuple(dict.fromkeys((*kept[place].twins, *paths))))
    return kept
