"""The lines of a TREC run, `query Q0 item rank score tag`, as arrays of numbers: read as a stream and, where lines look
as they nearly always do, many at a time.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from vtrcli.datasets.files import wrong
from vtrcli.datasets.qrels import GZIP_MARK

_READ_BYTES = 1 << 22
_LAYOUT = "six columns: query Q0 item rank score tag"
_MEND = "write the run again, or ids without blanks; ranx's JSON may hold any"
_MAX_LINE_BYTES = 1 << 20
_MOST_DIGITS = 24  # of a score that is read without `float`
# Whole numbers as they are written, from 0; grown as far as ranks are compared with them.
_COUNTED, _MOST_COUNTED = [b"%d" % number for number in range(1024)], 1 << 17


class Numbers(dict[bytes, int]):
    """Ids by their bytes, numbered as they come."""

    def __missing__(self, key: bytes) -> int:
        number = self[key] = len(self)
        return number


@dataclass
class Part:
    """Lines of a run: int32 [num_lines] each but `scores` (float64) and `ranks` (int64, or None: it has none)."""

    queries: np.ndarray
    videos: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray | None = None


def trec_parts(path: Path, queries: Numbers, videos: Numbers) -> Iterator[Part]:
    """The lines, some thousands at a time.

    Args:
        queries, videos: get the ids that they lack.

    Raises:
        InputError: no whole file, another encoding than UTF-8, or a line that is not one of a run; names it.
    """
    line = 1
    for chunk in _whole_lines(path):
        tokens = chunk.split()
        num_lines = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
        part = None
        # Six columns each time, and one word in the second one: no line can have lost a column to its neighbour.
        if len(tokens) == 6 * num_lines and len(set(tokens[1::6])) == 1:
            part = _numbers_of(tokens, queries, videos)
        yield part or _line_by_line(chunk, line, path, queries, videos)
        line += num_lines


def _numbers_of(tokens: list[bytes], queries: Numbers, videos: Numbers) -> Part | None:
    """Six tokens a line as arrays; None: some are no numbers."""
    num_lines = len(tokens) // 6
    names, sizes = zip(*((name, len(list(group))) for name, group in groupby(tokens[0::6])), strict=True)
    try:
        scores = _decimals(tokens[4::6])
        ranks = _ranks(tokens[3::6], sizes)
    except (ValueError, OverflowError):
        return None
    return Part(
        np.repeat(np.array([queries[name] for name in names], np.int32), sizes),
        np.fromiter(map(videos.__getitem__, tokens[2::6]), np.int32, num_lines),
        scores,
        ranks,
    )


def _ranks(tokens: list[bytes], sizes: Sequence[int]) -> np.ndarray:
    """int64. Where they count on, by query from 0 or 1 and from where the piece begins, as nearly always, they are
    compared and not read.

    Raises:
        ValueError: no whole number.
    """
    begin, ranks = 0, []
    for size in sizes:
        first = int(tokens[begin])
        if not 0 <= first <= _MOST_COUNTED - size:
            break
        while len(_COUNTED) < first + size:
            _COUNTED.extend(b"%d" % number for number in range(len(_COUNTED), 2 * len(_COUNTED)))
        if tokens[begin : begin + size] != _COUNTED[first : first + size]:
            break
        ranks.append(np.arange(first, first + size))
        begin += size
    if begin == len(tokens):
        return np.concatenate(ranks)
    return np.fromiter(map(int, tokens), np.int64, len(tokens))


def _decimals(tokens: list[bytes]) -> np.ndarray:
    """float64, what `float` makes of each token: 0.25 is 25 / 10^2, which is rounded once while both are exact. A token
    that is anything else than digits and a point is given to `float`.

    Raises:
        ValueError: no number.
    """
    table = np.array(tokens)
    num_tokens, width = len(tokens), table.itemsize
    columns = np.ascontiguousarray(table.view(np.uint8).reshape(num_tokens, width).T)
    whole, places = np.zeros(num_tokens), np.zeros(num_tokens, np.uint8)
    after_point, is_odd = np.zeros(num_tokens, np.bool_), columns[0] == ord(".")
    if width > _MOST_DIGITS:
        is_odd |= columns[_MOST_DIGITS] != 0
    for characters in columns[:_MOST_DIGITS]:
        digits = characters - np.uint8(ord("0"))
        is_digit, is_point = digits <= 9, characters == ord(".")
        is_odd |= ~(is_digit | is_point | (characters == 0)) | (is_point & after_point)
        np.multiply(whole, 10, out=whole, where=is_digit)
        np.add(whole, digits, out=whole, where=is_digit)
        places += after_point & is_digit
        after_point |= is_point
    is_odd |= (whole > 2**53) | (places > 22)
    scores = whole / 10.0 ** np.minimum(places, 22)
    for number in np.flatnonzero(is_odd).tolist():
        scores[number] = float(tokens[number])
    return np.asarray(scores)


def _line_by_line(chunk: bytes, first: int, path: Path, queries: Numbers, videos: Numbers) -> Part:
    rows = []
    for number, line in enumerate(chunk.split(b"\n"), start=first):
        tokens = line.split()
        if not tokens:
            continue
        if len(tokens) != 6:
            raise wrong(path, f"line {number} has {len(tokens)} columns", allowed=_LAYOUT, to_do=_MEND)
        for kind, token in ((int, tokens[3]), (float, tokens[4])):
            try:
                kind(token)
            except (ValueError, OverflowError):
                name = "rank" if kind is int else "score"
                raise wrong(
                    path,
                    f"line {number}: the {name} {token.decode(errors='replace')!r}",
                    allowed=f"a {name} is a {'whole ' * (kind is int)}number; {_LAYOUT}",
                    to_do=_MEND,
                ) from None
        rows.append((queries[tokens[0]], videos[tokens[2]], float(tokens[4]), int(tokens[3])))
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return Part(
        np.array(columns[0], np.int32),
        np.array(columns[1], np.int32),
        np.array(columns[2], np.float64),
        np.clip(np.array(columns[3], np.float64), -(2**62), 2**62).astype(np.int64),
    )


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The file in pieces that end with a line, unpacked, without a byte order mark."""
    with open(path, "rb") as raw:
        packed = raw.read(2) == GZIP_MARK
    rest = b""
    try:
        with open(path, "rb") as raw, gzip.open(raw) if packed else raw as file:
            for number, piece in enumerate(iter(lambda: file.read(_READ_BYTES), b"")):
                if number == 0 and piece[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise wrong(path, "it is UTF-16", allowed="a run is UTF-8 text", to_do="save it as UTF-8")
                whole = rest + (piece.removeprefix(b"\xef\xbb\xbf") if number == 0 else piece)
                if b"\n" not in whole and b"\r" in whole:
                    whole = whole.replace(b"\r", b"\n")
                end = whole.rfind(b"\n") + 1
                rest = whole[end:]
                if len(rest) > _MAX_LINE_BYTES:
                    raise wrong(path, "a line of more than a megabyte", allowed=_LAYOUT, to_do=_MEND)
                if end:
                    yield whole[:end]
    except (OSError, EOFError, zlib.error) as cause:
        raise wrong(
            path, f"cannot be read: {cause}", allowed="a whole run, plain or as .gz", to_do="get it again"
        ) from cause
    if rest.strip():
        yield rest
