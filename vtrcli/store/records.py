"""What the store knows of one video, and the cheap fingerprint that tells whether a file is still the same."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtrcli.store.config import require_types

FINGERPRINT_BYTES = 64 * 1024
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "path": (str,),
    "size": (int,),
    "mtime_ns": (int,),
    "fingerprint": (str,),
    "duration": (int, float, type(None)),
    "width": (int,),
    "height": (int,),
    "codec": (str,),
    "extracted_at": (int, float),
}


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A file as it is now. `fingerprint` covers the size and the first and last 64 KiB."""

    num_bytes: int
    mtime_ns: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoRecord:
    """One video of the store; width and height as displayed, times in seconds."""

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

    def to_json(self) -> dict[str, Any]:
        """The object that a shard's header holds for this video."""
        body: dict[str, Any] = {
            "id": self.video_id,
            "path": self.path,
            "size": self.num_bytes,
            "mtime_ns": self.mtime_ns,
            "fingerprint": self.fingerprint,
            "duration": self.duration_seconds,
            "width": self.width,
            "height": self.height,
            "codec": self.codec,
            "extracted_at": self.extracted_at,
        }
        if self.warnings:
            body["warnings"] = list(self.warnings)
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> VideoRecord:
        """Read what `to_json` wrote; unknown keys of later writers are ignored.

        Raises:
            KeyError, TypeError: something is missing or of another type.
        """
        require_types(body, _JSON_TYPES)
        warnings = body.get("warnings", [])
        if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
            raise TypeError("warnings are not a list of sentences")
        return cls(
            video_id=body["id"],
            path=body["path"],
            num_bytes=body["size"],
            mtime_ns=body["mtime_ns"],
            fingerprint=body["fingerprint"],
            duration_seconds=body["duration"],
            width=body["width"],
            height=body["height"],
            codec=body["codec"],
            extracted_at=body["extracted_at"],
            warnings=tuple(warnings),
        )


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
        num_bytes=status.st_size, mtime_ns=status.st_mtime_ns, fingerprint=digest.hexdigest()[:32]
    )


def same_content(first: Path, second: Path) -> bool:
    """Whether two files hold the same bytes; compares all of them, so call it after the fingerprints agree."""
    with open(first, "rb") as one, open(second, "rb") as two:
        while True:
            left, right = one.read(1 << 20), two.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True
