"""Pictures of moments: from kept frames where the store has them, else by one seek; kept on disk up to a size.

Knows nothing of HTTP. What the disk refuses is made each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vtrcli.errors import BusyError, StoreError, VideoError, VtrError
from vtrcli.files import remove_abandoned, write_whole
from vtrcli.store.catalog import Catalog
from vtrcli.store.frames import FRAME_FOLDER, FrameShard, is_whole, open_frame
from vtrcli.video.cut import frame_at

WIDTHS = (160, 240, 320, 480, 640)  # pixels; what is asked for is rounded up to one of them
QUALITY = 82
CACHE_BYTES = 256 << 20  # about 15,000 pictures
_SPARED = 0.8  # of the size stays when the oldest go
RECOUNT_SHARE = 1 / 16  # of the size is written before all are counted again
NUM_MAKERS = 2
MAX_WAITING = 400
RETRY_SECONDS = 2
# A kept frame stands for a moment that is no further from it; between frames farther apart one seek shows more.
NEAR_SECONDS = 0.5
TIMEOUT_SECONDS = 20.0
_NUM_SHARDS = 16
_VERSION = 1
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def width_for(asked: int) -> int:
    """The width that is made for a wanted one."""
    return next((width for width in WIDTHS if width >= asked), WIDTHS[-1])


def key_of(catalog: Catalog, video: int, seconds: float, width: int) -> str:
    """What names a picture: another file, time, width or way of making it has another key."""
    state = [int(catalog[name][video]) for name in ("num_bytes", "mtime_ns", "fingerprint")]
    told = f"{_VERSION} {catalog.ids[video]!r} {state} {round(seconds, 2)} {width} {catalog.store}"
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class Thumbnails:
    """Makes pictures, a few at a time, each once however many ask for it.

    Args:
        folder: where they are kept; None keeps none.
        max_bytes: what is kept at most; what was looked at longest ago goes first.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int = CACHE_BYTES) -> None:
        self._kept = Kept(folder, max_bytes) if folder is not None and max_bytes > 0 else None
        self._lock = threading.Lock()
        self._making: dict[str, Future[bytes]] = {}
        self._makers = ThreadPoolExecutor(NUM_MAKERS, thread_name_prefix="thumbnail")
        self._shards: OrderedDict[Path, tuple[int, FrameShard]] = OrderedDict()

    def get(
        self, catalog: Catalog, video: int, seconds: float, width: int, *, file: Callable[[], Path]
    ) -> Future[bytes]:
        """A JPEG of a video of a store; may be there already. `file` is asked for the video's where it is needed.

        The future raises VideoError where the file is gone or gives no picture. It belongs to all who ask: do not
        cancel it.

        Raises:
            BusyError: too many are waiting.
        """
        key = key_of(catalog, video, seconds, width)
        with self._lock:
            running = self._making.get(key)
            if running is not None:
                return running
            if len(self._making) >= MAX_WAITING:
                raise BusyError(
                    "too many pictures are being made",
                    allowed=f"{MAX_WAITING} at once",
                    to_do="try again in a moment",
                    retry_after_seconds=RETRY_SECONDS,
                )
            future = self._makers.submit(
                self._got, key, lambda: self._made(catalog, video, seconds, width, file)
            )
            self._making[key] = future
        future.add_done_callback(lambda done: self._forget(key))
        return future

    def close(self) -> None:
        """No more are made."""
        self._makers.shutdown(wait=False, cancel_futures=True)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._making.pop(key, None)

    def _got(self, key: str, make: Callable[[], bytes]) -> bytes:
        kept = None if self._kept is None else self._kept.read(key)
        if kept is not None:
            return kept
        picture = make()
        if self._kept is not None:
            self._kept.write(key, picture)
        return picture

    def _made(
        self, catalog: Catalog, video: int, seconds: float, width: int, file: Callable[[], Path]
    ) -> bytes:
        near = self._kept_frame(catalog, video, seconds, width, within=NEAR_SECONDS)
        if near is not None:
            return near
        try:
            return jpeg(
                frame_at(file(), seconds, longest_side=2 * width, timeout_seconds=TIMEOUT_SECONDS), width
            )
        except VideoError as error:
            # A file that is gone, or broken there, may have left frames; another file is another video.
            far = None
            if error.reason != "changed":
                far = self._kept_frame(catalog, video, seconds, width, within=float("inf"))
            if far is None:
                raise
            return far

    def _kept_frame(
        self, catalog: Catalog, video: int, seconds: float, width: int, *, within: float
    ) -> bytes | None:
        """From the frame that the store keeps nearest to a time, if one is so near. No damage is an error."""
        from PIL import Image

        path = catalog.store / FRAME_FOLDER / catalog.shard_names[int(catalog["video_shard"][video])]
        try:
            shard = self._shard(path)
            video_id = catalog.ids[video]
            if shard is None or video_id not in shard:
                return None
            distances = np.abs(catalog.timestamps(video) - seconds)
            number = int(np.argmin(distances))
            image = shard.image(video_id, number)
            if distances[number] > within or (np.isfinite(within) and not is_whole(image)):
                return None
            with open_frame(image) as picture:
                return jpeg(np.asarray(picture.convert("RGB")), width)
        except (VtrError, OSError, ValueError, KeyError, IndexError, Image.DecompressionBombError):
            return None

    def _shard(self, path: Path) -> FrameShard | None:
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return None
        with self._lock:
            known = self._shards.pop(path, None)
            if known is None or known[0] != changed:
                known = (changed, FrameShard(path))
            self._shards[path] = known
            while len(self._shards) > _NUM_SHARDS:
                self._shards.popitem(last=False)
        return known[1]


def jpeg(pixels: np.ndarray, width: int) -> bytes:
    """uint8 [height, width, 3] RGB -> a JPEG that is no wider than `width`, and no taller than it is wide."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((width, width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


class Kept:
    """Files of a folder, the sum of their sizes bounded, also where other servers write there: each counts them now and
    then, and they hold RECOUNT_SHARE more between two counts. No trouble with the disk is an error."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        self._counted_bytes = max_bytes  # of all when they were counted last: not yet
        self._written_bytes = 0  # here since then

    def read(self, key: str) -> bytes | None:
        """What was written; None where there is nothing, or what is no whole picture."""
        path = self._path(key)
        try:
            body = path.read_bytes()
        except OSError:
            return None
        if not (body.startswith(_JPEG_BEGIN) and body.endswith(_JPEG_END)):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return body

    def write(self, key: str, body: bytes) -> None:
        """Keep a picture; the ones that were read longest ago make room."""
        try:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, body)
        except (OSError, StoreError):
            return
        with self._lock:
            self._written_bytes += len(body)
            is_full = self._counted_bytes + self._written_bytes > self._max_bytes
            if is_full or self._written_bytes > self._max_bytes * RECOUNT_SHARE:
                self._counted_bytes, self._written_bytes = self._make_room(), 0

    def _make_room(self) -> int:
        """Bytes that are left."""
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        if left <= self._max_bytes:
            return left
        for _, size, path in files:
            if left <= self._max_bytes * _SPARED:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                left -= size
        return left

    def _files(self) -> list[tuple[int, int, Path]]:
        """(when it was last read, its size, its path) of each."""
        found = []
        for folder in self._folder.glob("[0-9a-f][0-9a-f]"):
            remove_abandoned(folder)
            for path in folder.glob("[!.]*.jpg"):
                with contextlib.suppress(OSError):
                    status = path.stat()
                    found.append((status.st_mtime_ns, status.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.jpg"
