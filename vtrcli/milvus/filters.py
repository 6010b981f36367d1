"""Filters as Milvus expressions that leave out no video that passes; the exact answer is `Filters.mask`'s.

Servers differ in what LIKE can escape, and milvus-lite takes no parameters in expressions. So what a user wrote
reaches an expression only as characters that mean themselves everywhere; any other becomes a wildcard.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vtrcli.milvus.rows import decode_text, encode_text, known_seconds
from vtrcli.searching.filters import Filters

_MAX_INT64 = 2**63 - 1
# Their meaning in an expression differs from server to server; _ stands for any one character.
_NOT_LITERAL = frozenset("_%\"'`{}$;")


def expression(filters: Filters) -> str:
    """An expression over the columns of milvus_rows that every passing video fulfils; "" for any video."""
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
        paths=[decode_text(row["path"]) for row in rows],
        duration_seconds=np.array([math.nan if value is None else value for value in seconds], float),
        changed_at=np.array([row["changed_at"] for row in rows], float),
        num_bytes=np.array([row["num_bytes"] for row in rows], np.int64),
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
    # ? is one character of the path, which Milvus may hold as several (see encode_text), as may be what is not ASCII
    # (see folded_path). Letters are of either case.
    if character in "*?" or encode_text(character) != character or not character.isascii():
        return "%"
    return "_" if character.isalpha() or character in _NOT_LITERAL else character
