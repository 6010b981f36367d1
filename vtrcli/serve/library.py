"""The stores of one server, opened once, kept warm, and looked at again and again. Knows nothing of HTTP.

What `vtr extract` adds, `vtr store compact` rewrites and `vtr train` makes is seen a second later. A store that
changed, or that another run is to rank, is opened anew beside the old one, which answers until then; whoever holds the
old one can go on with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vtrcli.errors import NotFoundError, UsageError, VideoError, VtrError
from vtrcli.model.runs import CONFIG, MODEL
from vtrcli.searching.encoding import Towers
from vtrcli.searching.presence import Presence
from vtrcli.searching.query import VideoScore
from vtrcli.searching.searcher import Searcher
from vtrcli.store.catalog import Catalog
from vtrcli.store.config import CONFIG_NAME, MALFORMED, is_store
from vtrcli.store.derived import remove_tables
from vtrcli.store.frames import frame_paths
from vtrcli.store.records import VideoRecord
from vtrcli.store.shard import TensorFile, damaged
from vtrcli.store.state import store_state

ChooseRun = Callable[[Path], Path | None]
LOOK_SECONDS = 1.0
LOOK_SHARE = (
    0.02  # of the time at most; a store of thousands of shards on a slow disk is looked at less often
)


@dataclass(frozen=True)
class OpenedStore:
    """One store as it was when it was opened, or last looked at; it can be asked on when the store changes.

    `state` is that of its files then, `vtrcli.store.state.store_state`.
    """

    name: str
    path: Path
    searcher: Searcher
    state: str
    _by_score: dict[VideoScore, Searcher] = field(default_factory=dict)

    @property
    def catalog(self) -> Catalog:
        """Its videos."""
        return self.searcher.catalog

    def video(self, video_id: str) -> int:
        """The number of a video. Raises NotFoundError for an id that the store does not have."""
        number = self.catalog.number_of.get(video_id)
        if number is None:
            raise NotFoundError(
                f"no video {video_id[:200]!r} in store {self.name}",
                allowed="the video_id of a result, or of /api/videos",
                to_do="ask for another, or search again: the store may have changed",
            )
        return number

    @cached_property
    def sorted_ids(self) -> list[str]:
        """Of all videos."""
        return sorted(self.catalog.ids.all())

    @property
    def has_frames(self) -> bool:
        """Whether pictures of its videos are kept."""
        return bool(frame_paths(self.path))

    def seconds(self, video: int) -> float:
        """How long a video is; where nobody knows, the time of its last frame."""
        known = self.catalog.duration(video)
        return round(float(self.catalog.timestamps(video)[-1]) if known is None else known, 3)

    def record(self, video: int) -> VideoRecord:
        """All that the store knows of a video, also when another process has deleted its shard meanwhile.

        Raises:
            StoreError: the shard is damaged.
        """
        shard, position = (int(self.catalog[name][video]) for name in ("video_shard", "video_position"))
        file = self.catalog.files[shard]
        try:
            rows = json.loads(TensorFile(file.path, file=file).metadata["videos"])
            return VideoRecord.from_json(rows[position])
        except MALFORMED as cause:
            raise damaged(file.path, f"the video list cannot be read ({cause})") from cause

    def file_state(self, video: int) -> str:
        """`there`, `missing`, `replaced`, or `none` where no file is known."""
        return Presence(self.catalog, show_missing=True).state(video)

    def scored_by(self, score: VideoScore | None) -> Searcher:
        """The searcher, or one whose frames become a video's score in another way.

        Raises:
            UsageError: with a run, which scores whole videos.
        """
        if score is None or (self.searcher.run is None and score == self.searcher.pooling):
            return self.searcher
        if self.searcher.run is not None:
            raise UsageError(
                f"score {score} with run {self.searcher.run.run}",
                allowed="a run scores whole videos",
                to_do="leave it out, or serve with --run none",
            )
        if score not in self._by_score:
            self._by_score[score] = self.searcher.pooled(score)
        return self._by_score[score]

    def file(self, video_id: str) -> Path:
        """The file of a video, which is there and still the one that was extracted.

        Raises:
            NotFoundError: no such video.
            VideoError: its file is gone, replaced, or was never known.
        """
        video = self.video(video_id)
        path = self.catalog.paths[video]
        state = self.file_state(video)
        if state == "replaced":
            raise VideoError("changed", "it is not the file that was extracted", path=path)
        if state != "there":
            raise VideoError("not-found", "its file is gone" if path else "no file is known", path=video_id)
        return Path(path)


class Library:
    """Stores by name.

    Args:
        stores: folders of stores, or folders that hold some.
        choose_run: the run that ranks in a store, None for plain CLIP; may raise.
        look_seconds: from one look at the stores to the next, once they are watched.

    Attributes:
        towers: of all stores, also when one is opened again.
    """

    def __init__(
        self,
        stores: Sequence[Path],
        *,
        choose_run: ChooseRun = lambda store: None,
        device: str = "auto",
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.device, self._choose_run, self._look_seconds = device, choose_run, look_seconds
        self.towers = Towers()
        self.paths = dict(zip(unique_names(found := store_folders(stores)), found, strict=True))
        self._states: dict[str, tuple[str, str]] = {}
        self._opened: dict[str, OpenedStore | VtrError] = {name: self._open(name) for name in self.paths}
        self._refreshing, self._over = threading.Lock(), threading.Event()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the stores, in their order; also of those that cannot be opened."""
        return tuple(self.paths)

    def store(self, name: str | None = None) -> OpenedStore:
        """A store as it is now; the first for None.

        Raises:
            NotFoundError: no store of that name.
            StoreError, WeightsError: it cannot be opened.
        """
        name = self.names[0] if name is None else name
        if name not in self.paths:
            raise NotFoundError(
                f"no store {name[:200]!r} here", allowed=", ".join(self.names), to_do="name one of these"
            )
        opened = self._opened[name]
        if isinstance(opened, VtrError):
            raise type(opened)(opened.came_in, allowed=opened.allowed, to_do=opened.to_do)
        return opened

    def warm(self) -> None:
        """Load what first queries would wait for. Where that cannot be, the query that needs it will tell."""
        for opened in list(self._opened.values()):
            _warm(opened)

    def refresh(self) -> None:
        """Open the stores anew that changed since they were opened, or that another run is to rank now, and those that
        are there only now."""
        with self._refreshing:
            for name, path in self.paths.items():
                if self._state(path) != self._states[name]:
                    opened = self._open(name)
                    _warm(opened)
                    before, self._opened[name] = self._opened[name], opened
                    _forget_replaced(before, opened)

    def watch(self) -> None:
        """Look at the stores from time to time, until `close`."""
        threading.Thread(target=self._watch, name="stores", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def _watch(self) -> None:
        pause = self._look_seconds
        while not self._over.wait(pause):
            started = time.thread_time()
            try:
                self.refresh()
            except Exception:  # the stores as they were answer on, and the next change is another try
                logging.getLogger(__name__).exception("a store that changed could not be opened anew")
            pause = max(self._look_seconds, (time.thread_time() - started) / LOOK_SHARE)

    def _open(self, name: str) -> OpenedStore | VtrError:
        path = self.paths[name]
        self._states[name] = self._state(path)  # before: what comes meanwhile is another one
        try:
            searcher = Searcher(
                path,
                run=self._choose_run(path),
                device=self.device,
                towers=self.towers,
                keeps_queries=False,
            )
        except VtrError as error:
            return error
        return OpenedStore(name, path, searcher, self._states[name][0])

    def _state(self, path: Path) -> tuple[str, str]:
        """Of the store, empty where there is none, and of the run that is to rank; opening it tells what is wrong."""
        try:
            return store_state(path), self._run_state(path)
        except OSError:
            return "", ""

    def _run_state(self, path: Path) -> str:
        """Names the run and its files: `vtr train` writes them anew when it has become better."""
        try:
            run = self._choose_run(path)
        except VtrError as error:
            return str(error)
        if run is None:
            return ""
        files = (run / name for name in (CONFIG, MODEL))
        return f"{run} {[file.stat().st_mtime_ns for file in files if file.exists()]}"


def _warm(opened: OpenedStore | VtrError) -> None:
    if isinstance(opened, OpenedStore):
        with contextlib.suppress(VtrError):
            opened.searcher.warm()


def _forget_replaced(before: OpenedStore | VtrError, after: OpenedStore | VtrError) -> None:
    """Delete the vectors of a run that a better one took the place of: a set for each of its validations would stay,
    and nobody can ask for it again. Who is at work with them has them open."""
    if isinstance(before, OpenedStore) and isinstance(after, OpenedStore):
        old, new = before.searcher.run, after.searcher.run
        if old is not None and new is not None and old.run == new.run and old.key != new.key:
            remove_tables(after.path, old.key)


def store_folders(given: Sequence[Path]) -> list[Path]:
    """The stores that are meant: a folder that is none stands for those in it.

    Raises:
        UsageError: none was named.
    """
    found: list[Path] = []
    for folder in given:
        inside = [] if is_store(folder) else sorted(file.parent for file in folder.glob(f"*/{CONFIG_NAME}"))
        found += inside or [folder]
    if not found:
        raise UsageError("no store was named", allowed="one or more stores", to_do="add --store DIR")
    return list(dict.fromkeys(path.absolute() for path in found))


def unique_names(stores: Sequence[Path]) -> list[str]:
    """A short name for each: its folder's, with the folder's above where two are called alike, or a number."""
    names: list[str] = []
    for path in stores:
        for name in (path.name, f"{path.parent.name}/{path.name}"):
            if name and name not in names:
                break
        else:
            name = f"{path.name or 'store'} {len(names) + 1}"
        names.append(name)
    return names
