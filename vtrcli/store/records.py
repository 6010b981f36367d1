"""What the store knows of one video, and how it is told whether a file is still the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.store.config import require_types
from vtrcli.store.roots import NO_ROOTS, Roots, below, normal

FINGERPRINT_BYTES = 64 * 1024
MAX_SECONDS = 1e9  # 31 years
HASH_BLOCK_BYTES = 1 << 20
# Per field of a record its key in a shard's header, and what that holds.
_FIELDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "video_id": ("id", (str,)),
    "path": ("path", (str,)),
    "num_bytes": ("size", (int,)),
    "mtime_ns": ("mtime_ns", (int,)),
    "fingerprint": ("fingerprint", (str,)),
    "duration_seconds": ("duration", (int, float, type(None))),
    "width": ("width", (int,)),
    "height": ("height", (int,)),
    "codec": ("codec", (str,)),
    "extracted_at": ("extracted_at", (int, float)),
}
_JSON_TYPES = dict(_FIELDS.values())
# Fields that the first releases did not write; their keys are their names.
_LATER_TYPES: dict[str, tuple[type, ...]] = {
    "content": (str, type(None)),
    "inode": (int, type(None)),
    "ctime_ns": (int, type(None)),
    "root": (str, type(None)),
    "relative_path": (str, type(None)),
    "precision": (str, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A file as it is now. `fingerprint` covers the size and the first and last 64 KiB: two files of different
    fingerprints are different, two of the same may be."""

    num_bytes: int
    mtime_ns: int
    fingerprint: str
    inode: int | None = None
    ctime_ns: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoRecord:
    """One video of the store; width and height as displayed, times in seconds.

    `path` is where the file is now: the folder that its `root` stands for, and `relative_path` (with /) below it.
    `content` is the SHA-256 of the whole file, hexadecimal; `precision` the number format in which the image tower
    computed the features. What the first releases did not write is None.

    Of imported features no file is known: `path`, `fingerprint` and `codec` are empty, and the sizes and `mtime_ns` 0.
    """

    video_id: str
    path: str
    num_bytes: int
    mtime_ns: int
    fingerprint: str
    duration_seconds: float | None
    width: int
    height: int
    codec: str
    extracted_at: float
    warnings: tuple[str, ...] = ()
    content: str | None = None
    inode: int | None = None
    ctime_ns: int | None = None
    root: str | None = None
    relative_path: str | None = None
    precision: str | None = None

    @property
    def has_file(self) -> bool:
        """Whether it was made of a file, which may be gone; features that were imported were made by others."""
        return bool(self.path)

    def is_file(self, status: os.stat_result) -> bool:
        """Whether a file of this `stat` is surely the one that was extracted, so that nothing of it need be read.

        Another inode is another file, unless even the change time is the same, which nobody can set: some file
        systems (FAT, some network mounts) number their files anew whenever they are mounted.
        """
        if (self.num_bytes, self.mtime_ns) != (status.st_size, status.st_mtime_ns):
            return False
        return self.inode is None or self.inode == status.st_ino or self.ctime_ns == status.st_ctime_ns

    def to_json(self) -> dict[str, Any]:
        """The object that a shard's header holds for this video."""
        body = {key: getattr(self, field) for field, (key, _) in _FIELDS.items()}
        body |= {key: getattr(self, key) for key in _LATER_TYPES if getattr(self, key) is not None}
        if self.warnings:
            body["warnings"] = list(self.warnings)
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any], roots: Roots = NO_ROOTS) -> VideoRecord:
        """Read what `to_json` wrote; unknown keys of later writers are ignored.

        Args:
            roots: where the folders are now.

        Raises:
            KeyError, TypeError: something is missing or of another type.
        """
        later = {key: body.get(key) for key in _LATER_TYPES}
        require_types(body, _JSON_TYPES)
        require_types(later, _LATER_TYPES)
        place = roots.place(body["path"], later["root"], later["relative_path"])
        warnings = body.get("warnings", [])
        if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
            raise TypeError("warnings are not a list of sentences")
        return cls(
            video_id=body["id"],
            path=place.path,
            num_bytes=body["size"],
            mtime_ns=body["mtime_ns"],
            fingerprint=body["fingerprint"],
            duration_seconds=body["duration"],
            width=body["width"],
            height=body["height"],
            codec=body["codec"],
            extracted_at=body["extracted_at"],
            warnings=tuple(warnings),
            content=later["content"],
            inode=later["inode"],
            ctime_ns=later["ctime_ns"],
            root=place.root,
            relative_path=place.relative_path,
            precision=later["precision"],
        )


def place_of(record: VideoRecord, roots: Roots) -> tuple[str, str]:
    """(folder, relative path in composed Unicode) of a stored video. Without a root the folder is what is left of its
    path when its id is taken off, since ids began as paths below it."""
    root = roots.by_name.get(record.root or "")
    if root is not None and record.relative_path is not None:
        return root.folder, normal(record.relative_path)
    tail = os.sep + record.video_id.replace("/", os.sep)
    for path in (record.path, os.path.splitext(record.path)[0]):
        if path.endswith(tail) and len(path) > len(tail):
            folder = path[: -len(tail)]
            return folder, normal(below(record.path, folder))
    return os.path.dirname(record.path), normal(os.path.basename(record.path))


def unsound_videos(
    records: Sequence[VideoRecord], timestamps: np.ndarray, offsets: np.ndarray
) -> dict[int, str]:
    """Which of the videos of a shard say of themselves what no video can be, and what that is: by their number.

    The one rule of those who write, search and verify. Any date will do: some file systems know years beyond 2262.

    Args:
        timestamps: float32 [total_frames], seconds.
        offsets: int64 [num_videos + 1]; each video has a frame.
    """
    found: dict[int, str] = {}
    if len(records):
        steps = np.diff(timestamps, prepend=timestamps[:1])
        steps[offsets[:-1]] = 0  # the first frame of a video follows none
        fine = np.isfinite(timestamps) & (timestamps >= 0) & (timestamps <= MAX_SECONDS) & (steps >= 0)
        for number in np.flatnonzero(~np.logical_and.reduceat(fine, offsets[:-1])).tolist():
            found[number] = f"the times of {records[number].video_id!r} are no times in their order"
    for number, record in enumerate(records):
        duration = record.duration_seconds
        if duration is not None and not 0 <= duration <= MAX_SECONDS:
            found[number] = f"{record.video_id!r} lasts {str(duration)[:20]} s"
        elif not 0 <= record.num_bytes < 2**63:
            found[number] = f"{record.video_id!r} has {str(record.num_bytes)[:20]} bytes"
    return found


def file_state(path: Path) -> FileState:
    """Stat and fingerprint a regular file; reads at most 128 KiB.

    Raises:
        OSError: the file is gone or cannot be read.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.sha256(status.st_size.to_bytes(8, "little"))
        digest.update(file.read(FINGERPRINT_BYTES))
        if status.st_size > FINGERPRINT_BYTES:
            file.seek(max(FINGERPRINT_BYTES, status.st_size - FINGERPRINT_BYTES))
            digest.update(file.read(FINGERPRINT_BYTES))
    return FileState(
        num_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        fingerprint=digest.hexdigest()[:32],
        inode=status.st_ino,
        ctime_ns=status.st_ctime_ns,
    )


def file_content(path: Path, *, should_stop: Callable[[], bool] = lambda: False) -> str | None:
    """SHA-256 of a whole file, hexadecimal, as `sha256sum` prints it; None when `should_stop` said so meanwhile.

    Raises:
        OSError: the file is gone or cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            if should_stop():
                return None
            digest.update(block)
    return digest.hexdigest()
