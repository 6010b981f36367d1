"""The lines of a TREC run, `query Q0 item rank score tag`, as arrays of numbers: read as a stream and, where lines look
as they nearly always do, many at a time.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.datasets.files import wrong
from vtrcli.datasets.qrels import GZIP_MARK

_READ_BYTES = 1 << 20
_LAYOUT = "six columns: query Q0 item rank score tag"
_MEND = "write the run again, or ids without blanks; ranx's JSON may hold any"
_MAX_LINE_BYTES = 1 << 20
_MOST_DIGITS = 18  # that an int64 holds
_IS_BLANK = np.isin(np.arange(256), list(b" \t\n\v\f\r"))  # what `bytes.split` splits at
_MOST_PLACES = 1 << 20  # of ids that are remembered beside the dictionary
_MOST_LETTERS = 64  # of an id that is compared in arrays; a multiple of 8


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
    known, line = _KnownIds(videos), 1
    for chunk in _whole_lines(path):
        yield _columns(chunk, queries, known) or _line_by_line(chunk, line, path, queries, videos)
        line += chunk.count(b"\n")


class Words:
    """One column of many lines, by where each word stands in their bytes.

    Args:
        content: the lines; text: the same as uint8, with zeros behind it. starts, ends: int64 [num_lines].
    """

    def __init__(self, content: bytes, text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self._content, self._text, self._starts = content, text, starts
        self.lengths = ends - starts

    def __len__(self) -> int:
        return len(self._starts)

    def some(self, lines: np.ndarray) -> Iterator[bytes]:
        """The words of these lines (int64)."""
        starts = self._starts[lines]
        for start, end in zip(starts.tolist(), (starts + self.lengths[lines]).tolist(), strict=True):
            yield self._content[start:end]

    def characters(self, most: int) -> Iterator[np.ndarray]:
        """uint8 [num_lines] for each place, up to the longest word or `most`; 0 where a word has ended."""
        for place in range(min(most, int(self.lengths.max(initial=0)))):
            letters = self._text[self._starts + place]
            letters[self.lengths <= place] = 0
            yield letters


def _columns(content: bytes, queries: Numbers, videos: _KnownIds) -> Part | None:
    """Lines of six words each as arrays; None: some are not."""
    text = np.zeros(len(content) + _MOST_LETTERS, np.uint8)
    text[: len(content)] = np.frombuffer(content, np.uint8)
    is_word = text > ord(" ")
    newlines = np.flatnonzero(text == ord("\n"))
    edges = np.flatnonzero(np.diff(is_word, prepend=False))
    if (
        len(edges) != 12 * len(newlines)
        or not _IS_BLANK[text[: len(content)][~is_word[: len(content)]]].all()
    ):
        return None
    edges = np.ascontiguousarray(edges.reshape(-1, 12).T)
    if (newlines < edges[11]).any() or (newlines[:-1] >= edges[0, 1:]).any():
        return None
    column = [Words(content, text, edges[2 * number], edges[2 * number + 1]) for number in range(6)]
    if max(int(column[number].lengths.max()) for number in (0, 2)) > _MOST_LETTERS:
        return None
    try:
        ranks, scores = _whole_numbers(column[3]), decimals(column[4])
    except (ValueError, OverflowError):
        return None
    return Part(_grouped(column[0], queries), videos.numbers(column[2]), scores, ranks)


def _grouped(words: Words, numbers: Numbers) -> np.ndarray:
    """int32: each word's number. Only the first of equal neighbours is looked up: a run lists query by query."""
    is_first = np.zeros(len(words), np.bool_)
    is_first[0] = True
    for letters in words.characters(_MOST_LETTERS):
        is_first[1:] |= letters[1:] != letters[:-1]
    firsts = np.flatnonzero(is_first)
    found = np.fromiter(map(numbers.__getitem__, words.some(firsts)), np.int32, len(firsts))
    return np.repeat(found, np.diff(firsts, append=len(words)))


class _KnownIds:
    """Numbers of ids that come again and again: a hash table of their letters in arrays, before the dictionary that
    decides. A place holds one id; what does not find itself there, letter by letter, asks the dictionary."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._resize(1 << 12)

    def _resize(self, size: int) -> None:
        self._size = size
        self._ids = np.full(size, -1, np.int32)
        self._letters: list[np.ndarray] = []  # eight letters of each id, as far as the longest one has them

    def numbers(self, words: Words) -> np.ndarray:
        """int32 [num_words]."""
        if len(self._numbers) * 8 > self._size < _MOST_PLACES:
            self._resize(min(_MOST_PLACES, len(self._numbers) * 32))
        packed: list[np.ndarray] = []
        for place, letters in enumerate(words.characters(_MOST_LETTERS)):
            if place % 8 == 0:
                packed.append(np.zeros(len(words), np.uint64))
            packed[-1] |= letters.astype(np.uint64) << np.uint64(8 * (place % 8))
        mixed = np.zeros(len(words), np.uint64)
        for eight in packed:
            mixed = (mixed ^ eight) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        slots = (mixed % np.uint64(self._size)).astype(np.int64)
        found = self._ids[slots]
        is_there = found >= 0
        while len(self._letters) < len(packed):
            self._letters.append(np.zeros(self._size, np.uint64))
        for number, held in enumerate(self._letters):
            is_there &= held[slots] == (packed[number] if number < len(packed) else 0)
        missing = np.flatnonzero(~is_there)
        found[missing] = np.fromiter(
            map(self._numbers.__getitem__, words.some(missing)), np.int32, len(missing)
        )
        free, first = np.unique(slots[missing], return_index=True)
        is_free = self._ids[free] < 0
        free, kept = free[is_free], missing[first[is_free]]
        self._ids[free] = found[kept]
        for held, eight in zip(self._letters, packed, strict=False):
            held[free] = eight[kept]
        return np.asarray(found)


def _whole_numbers(words: Words) -> np.ndarray:
    """int64, what `int` makes of each word. Raises ValueError, OverflowError."""
    values, is_odd = np.zeros(len(words), np.int64), words.lengths > _MOST_DIGITS
    for letters in words.characters(_MOST_DIGITS):
        digits = letters - np.uint8(ord("0"))
        is_digit = digits <= 9
        is_odd |= ~is_digit & (letters != 0)
        np.multiply(values, 10, out=values, where=is_digit)
        np.add(values, digits, out=values, where=is_digit)
    odd = np.flatnonzero(is_odd)
    values[odd] = [int(word) for word in words.some(odd)]
    return values


def decimals(words: Words) -> np.ndarray:
    """float64, what `float` makes of each word: 0.25 is 25 / 10^2, which is rounded once while both are exact. A word
    that is anything else than up to 18 digits and a point is given to `float`.

    Raises:
        ValueError: no number.
    """
    num = len(words)
    whole, places = np.zeros(num, np.int64), np.zeros(num, np.uint8)
    after_point, is_odd = np.zeros(num, np.bool_), words.lengths > _MOST_DIGITS
    for number, letters in enumerate(words.characters(_MOST_DIGITS)):
        digits = letters - np.uint8(ord("0"))
        is_digit, is_point = digits <= 9, letters == ord(".")
        is_odd |= ~(is_digit | is_point | (letters == 0)) | (is_point & (after_point | (number == 0)))
        np.multiply(whole, 10, out=whole, where=is_digit)
        np.add(whole, digits, out=whole, where=is_digit)
        places += after_point & is_digit
        after_point |= is_point
    is_odd |= whole > 2**53
    scores = whole / 10.0**places
    odd = np.flatnonzero(is_odd)
    scores[odd] = [float(word) for word in words.some(odd)]
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
        yield rest + b"\n"
