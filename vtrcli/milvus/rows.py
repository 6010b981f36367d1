"""The columns and rows of a collection, texts as Milvus takes them, and filters as its expressions.

A collection has one row per frame (`<prefix>_frames`), or one per video (`<prefix>_<space>`, vectors of a trained
run); the columns are the same. Frame 0 of a video stands for the video where videos are listed.

An expression leaves out no video that passes; the exact answer is `Filters.mask`'s. Servers differ in what LIKE can
escape, and milvus-lite takes no parameters in expressions. So what a user wrote reaches an expression only as
characters that mean themselves everywhere; any other becomes a wildcard.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vtrcli.searching.filters import Filters, VideoFacts
from vtrcli.store.records import VideoRecord

MAX_VARCHAR_BYTES = 65_535  # Milvus's limit of a text
UNKNOWN_SECONDS = -1.0
ABOUT_VIDEO = ("video_id", "path", "duration_seconds", "changed_at", "num_bytes")

_ESCAPED = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_MAX_INT64 = 2**63 - 1
# Their meaning in an expression differs from server to server; _ stands for any one character.
_NOT_LITERAL = frozenset("_%\"'`{}$;")


def encode_text(text: str) -> str:
    """Reversible; Milvus takes UTF-8 only, a path may hold lone surrogates: those, control characters and the
    backslash become \\uXXXX."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def decode_text(text: str) -> str:
    """What `encode_text` was given."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def video_key(video_id: str) -> str:
    """32 hexadecimal digits: ids of any length and content, safe in an expression."""
    return hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def row_id(key: str, frame: int) -> str:
    """Primary key of a row: the same at each push."""
    return f"{key}-{frame:07d}"


def about_video(record: VideoRecord, version: str) -> dict[str, Any]:
    """The columns that all rows of a video share."""
    seconds = record.duration_seconds
    return {
        "video_key": video_key(record.video_id),
        "version": version,
        "video_id": encode_text(record.video_id),
        "path": encode_text(record.path),
        "name": encode_text(record.path.rpartition("/")[2]),
        "duration_seconds": float(seconds) if seconds is not None and seconds >= 0 else UNKNOWN_SECONDS,
        "changed_at": record.mtime_ns / 1e9,
        "num_bytes": record.num_bytes,
    }


def fits(about: dict[str, Any]) -> bool:
    """Whether the texts are short enough for Milvus."""
    return all(len(about[name].encode()) <= MAX_VARCHAR_BYTES for name in ("video_id", "path"))


def video_rows(about: dict[str, Any], vectors: np.ndarray, seconds: np.ndarray) -> list[dict[str, Any]]:
    """Rows of one video, frame 0 last: while it is missing the video does not count as there.

    Args:
        vectors: float32 [num_frames, width].
        seconds: float32 [num_frames].
    """
    return [
        {
            **about,
            "id": row_id(about["video_key"], frame),
            "frame": frame,
            "num_frames": len(vectors),
            "seconds": float(seconds[frame]),
            "vector": vectors[frame],
        }
        for frame in reversed(range(len(vectors)))
    ]


def known_seconds(value: float) -> float | None:
    """A length as Milvus keeps it -> seconds, None where it is not known."""
    return None if value < 0 else float(value)


def in_list(column: str, values: Sequence[str]) -> str:
    """`column in ["…"]` for keys and row ids, which hold nothing that needs escaping."""
    return f"{column} in [" + ", ".join(f'"{value}"' for value in values) + "]"


def expression(filters: Filters) -> str:
    """An expression over the columns that every passing video fulfils; "" for any video."""
    clauses: list[str] = []
    lengths = (filters.min_duration_seconds, filters.max_duration_seconds)
    if lengths != (None, None):
        clauses.append("duration_seconds >= 0.0")  # -1 where it is not known
    clauses += _bounds("duration_seconds", *lengths)
    clauses += _bounds("changed_at", filters.min_changed_at, filters.max_changed_at)
    clauses += _bounds("num_bytes", filters.min_bytes, filters.max_bytes)
    paths = [_likes(pattern) for pattern in filters.paths]
    if paths and all(paths):
        clauses.append("(" + " or ".join(dict.fromkeys(like for likes in paths for like in likes)) + ")")
    return " and ".join(clauses)


def mask(filters: Filters, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """bool [num_rows]: which rows of Milvus pass; exact."""
    seconds = [known_seconds(row["duration_seconds"]) for row in rows]
    return filters.mask(
        VideoFacts(
            paths=[decode_text(row["path"]) for row in rows],
            duration_seconds=np.array([math.nan if value is None else value for value in seconds], float),
            changed_at=np.array([row["changed_at"] for row in rows], float),
            num_bytes=np.array([row["num_bytes"] for row in rows], np.int64),
        )
    )


def _bounds(column: str, low: float | None, high: float | None) -> list[str]:
    return [
        f"{column} {sign} {_number(column, bound, rounded)}"
        for sign, bound, rounded in ((">=", low, math.floor), ("<=", high, math.ceil))
        if bound is not None and math.isfinite(bound) and abs(bound) <= _MAX_INT64
    ]


def _number(column: str, bound: float, rounded: Callable[[float], int]) -> str:
    return str(rounded(bound)) if column == "num_bytes" else repr(float(bound))


def _likes(pattern: str) -> list[str]:
    """LIKEs of which every path that the pattern means fulfils one; none where that would be any path."""
    bare = pattern.rstrip("/")
    anywhere = bare if bare.startswith("/") else f"*/{bare}"
    found = [_like("path", f"{anywhere}/*")]  # a folder of that name
    if not pattern.endswith("/"):
        found.append(_like("path", anywhere))
        found.append(_like("path", bare) if "/" in bare else _like("name", bare))
    return found if all(found) else []


def _like(column: str, pattern: str) -> str:
    first, last = pattern.find("["), pattern.rfind("]")
    if 0 <= first < last:
        pattern = f"{pattern[:first]}*{pattern[last + 1 :]}"
    like = re.sub("%+", "%", "".join(map(_like_character, pattern)))
    return "" if like == "%" else f'{column} like "{like}"'


def _like_character(character: str) -> str:
    # ? is one character of the path, which Milvus may hold as several (see encode_text), as may be what is not ASCII.
    # Letters are of either case.
    if character in "*?" or encode_text(character) != character or not character.isascii():
        return "%"
    return "_" if character.isalpha() or character in _NOT_LITERAL else character
