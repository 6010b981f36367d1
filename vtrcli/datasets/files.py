"""Annotation files, read with limits and with errors that name the file: bytes and text, also from inside a zip; small
tables with a header (comma-, semicolon- or TAB-separated, any line ends, quoted cells); and JSON whose shape is checked
step by step, so that a foreign file ends in a message and not in a KeyError.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vtrcli.errors import InputError
from vtrcli.text_files import decode_text

# The largest real file (MSR-VTT's captions) has 23 MB; a zip member that claims more than this is no annotation.
MAX_FILE_BYTES = 256 * 2**20
GET_AGAIN = "mend the file or get it again; `vtr datasets list` says where from"
MAX_DIGITS = 300  # of a whole number: floats end at 1.8e308
DELIMITERS = (",", ";", "\t")


def wrong(path: Path, what: str, *, allowed: str, to_do: str = GET_AGAIN) -> InputError:
    """The error about a file that does not hold what it must."""
    return InputError(f"{path}: {what}", allowed=allowed, to_do=to_do)


def first_few(names: Sequence[str], *, most: int = 5) -> str:
    """The first names, and dots when there are more."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def find_file(folder: Path, *names: str) -> Path:
    """The first of `names` that is in `folder`: the layouts of one annotation, the preferred one first.

    Raises:
        InputError: the folder or all of the files are missing.
    """
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder} is not a folder",
            allowed="--annotations is the folder of the data set's annotation files",
            to_do="check the path; `vtr datasets list` names the files",
        )
    for name in names:
        if os.path.exists(folder / name):
            return folder / name
    raise InputError(
        f"{folder} holds no {' and no '.join(names)}",
        allowed="this split is read from it" if len(names) == 1 else "this split is read from one of them",
        to_do="put it there; `vtr datasets list` says where researchers get it",
    )


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most `MAX_FILE_BYTES`.

    Raises:
        InputError: missing, not a file, not readable or too large.
    """
    try:
        if path.exists() and not path.is_file():
            raise wrong(path, "not a regular file", allowed="annotations are read from plain files")
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as cause:
        raise wrong(path, "no such file", allowed="a file that is there", to_do="check the path") from cause
    except OSError as cause:
        raise wrong(path, cause.strerror or str(cause), allowed="the file must be readable") from cause
    if len(content) > MAX_FILE_BYTES:
        raise wrong(path, "too large", allowed=f"annotations have at most {MAX_FILE_BYTES // 2**20} MiB")
    return content


def read_text(path: Path) -> str:
    """The content as text without its byte order mark, every line end a newline. Raises InputError."""
    return as_text(read_bytes(path), path)


def as_text(content: bytes, path: Path) -> str:
    """Decode what `read_bytes` or `read_zip_member` gave; `path` is for the message. Raises InputError."""
    return decode_text(content, name=str(path))


def read_lines(path: Path) -> list[str]:
    """Lines that are not blank, without the white space around them. Raises InputError."""
    # Not splitlines(): it also cuts at characters such as U+2028, which stand inside captions.
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_video_ids(path: Path) -> list[str]:
    """A list of video ids, one per line, each once. Raises InputError."""
    return each_once(read_lines(path), path)


def each_once(video_ids: list[str], path: Path) -> list[str]:
    """`video_ids` themselves. Raises InputError when one is there twice."""
    again = [video_id for video_id, count in Counter(video_ids).items() if count > 1]
    if again:
        raise wrong(path, f"listed twice: {first_few(again)}", allowed="a split lists each video once")
    return video_ids


def read_zip_member(path: Path, name: str) -> bytes | None:
    """The one member whose file name is `name`, in whatever folder of the zip; None when there is none.

    Nothing is extracted, so a member's path can lead nowhere.

    Raises:
        InputError: no readable zip, two such members, one that claims an absurd size, or an encrypted one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if _is_member(item.filename, name)]
            if not members:
                return None
            if len(members) > 1:
                raise wrong(path, f"{len(members)} members are called {name}", allowed="one member per name")
            if members[0].file_size > MAX_FILE_BYTES:
                size = f"{name} claims {members[0].file_size:,} bytes"
                raise wrong(path, size, allowed=f"annotations have at most {MAX_FILE_BYTES // 2**20} MiB")
            return archive.read(members[0])
    # RuntimeError is what zipfile raises for an encrypted member, NotImplementedError for a rare compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as cause:
        raise wrong(
            path, f"cannot be read as a zip: {cause}", allowed="a whole, unencrypted zip file"
        ) from cause


def _is_member(member: str, name: str) -> bool:
    parts = PurePosixPath(member).parts
    return bool(parts) and parts[-1] == name and ".." not in parts and "__MACOSX" not in parts


@dataclass(frozen=True)
class Table:
    """`rows`: (number of the line in the file, column -> cell), blank lines left out."""

    columns: tuple[str, ...]
    rows: list[tuple[int, Mapping[str, str]]]


def read_table(path: Path, *, required: Sequence[str]) -> Table:
    """Read a table. The delimiter is the one that splits the header into the `required` columns.

    Raises:
        InputError: unreadable, a required column is missing, or a row has more or fewer cells than the header.
    """
    text = read_text(path)
    header = text.lstrip().split("\n", 1)[0].strip()
    for delimiter in DELIMITERS:
        columns = tuple(name.strip().strip('"') for name in header.split(delimiter))
        if set(required) <= set(columns):
            if len(set(columns)) < len(columns):
                raise wrong(path, "the header names a column twice", allowed="each column once")
            return Table(columns, _rows(text, columns, delimiter, path))
    raise wrong(
        path,
        f"the first line is {header[:80]!r}",
        allowed=f"it must name the columns {', '.join(required)}, separated by comma, semicolon or TAB",
    )


def _rows(
    text: str, columns: tuple[str, ...], delimiter: str, path: Path
) -> list[tuple[int, Mapping[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, Mapping[str, str]]] = []
    has_header = False
    try:
        for cells in reader:
            if not any(cells):
                continue
            if not has_header:
                has_header = True
                continue
            if len(cells) != len(columns):
                raise wrong(
                    path,
                    f"line {reader.line_num} has {len(cells)} cells",
                    allowed=f"every line has {len(columns)}: {delimiter.join(columns)!r}",
                    to_do=f'put a caption that holds {delimiter!r} between "quotes"',
                )
            rows.append((reader.line_num, dict(zip(columns, cells, strict=True))))
    except csv.Error as cause:
        what = f"line {reader.line_num} cannot be read: {cause}"
        raise wrong(path, what, allowed="cells, where needed between double quotes") from cause
    return rows


class Json:
    """A value in a JSON file that knows its place, so that a foreign file ends in a message and not in a KeyError.

    Each method raises InputError for a value of another kind; the message says `what` it is.
    """

    __slots__ = ("_name", "_parent", "path", "value")

    def __init__(
        self, value: object, path: Path, name: str = "the file", *, parent: Json | None = None
    ) -> None:
        self.value, self.path, self._name, self._parent = value, path, name, parent

    @classmethod
    def parse(cls, text: str, path: Path, name: str = "the file") -> Json:
        """The value that a text holds. Also raises InputError when an object names a key twice: one would be lost."""
        try:
            return cls(json.loads(text, object_pairs_hook=_object, parse_int=_whole_number), path, name)
        except _RepeatedKey as cause:
            twice = f"{name} has the key {cause.key!r} twice in one object"
            raise wrong(path, twice, allowed="each key once; one of the two would be lost") from cause
        except (ValueError, RecursionError) as cause:
            raise wrong(
                path, f"{name} is not JSON: {cause}", allowed="it must be whole, valid JSON"
            ) from cause

    @property
    def what(self) -> str:
        """What it is, for messages: 'video' of entry 3."""
        return self._name if self._parent is None else f"{self._name} of {self._parent.what}"

    def members(self) -> dict[str, Any]:
        """Its members."""
        if not isinstance(self.value, dict):
            raise self._not("an object")
        return self.value

    def __getitem__(self, key: str) -> Json:
        """A member, which must be there."""
        return self.member(key, repr(key))

    def member(self, key: str, name: str) -> Json:
        """A member, which must be there, by the name that messages give it."""
        members = self.members()
        if key not in members:
            keys = ", ".join(map(repr, list(members)[:8])) or "nothing"
            must = f"it has {keys}, and must have {key!r}"
            raise wrong(self.path, f"{self.what} has no key {key!r}", allowed=must)
        return Json(members[key], self.path, name, parent=None if self._name == "the file" else self)

    def items(self) -> list[Any]:
        """Its items."""
        if not isinstance(self.value, list):
            raise self._not("a list")
        return self.value

    def each(self, noun: str) -> Iterator[Json]:
        """Its items, called by the noun and their numbers."""
        for number, value in enumerate(self.items()):
            yield Json(value, self.path, f"{noun} {number}")

    def string(self) -> str:
        """A text that can be written out: JSON may hold half of a surrogate pair."""
        if not isinstance(self.value, str):
            raise self._not("a string")
        try:
            self.value.encode()
        except UnicodeEncodeError as cause:
            unsound = f"{self.what} is not valid Unicode"
            raise wrong(self.path, unsound, allowed="ids and captions are Unicode text") from cause
        return self.value

    def text(self) -> str:
        """A caption with each run of white space (real ones hold newlines) made one space.

        An empty caption is refused rather than dropped: dropping would change the counts that make results comparable.
        """
        text = " ".join(self.string().split())
        if not text:
            raise wrong(
                self.path,
                f"{self.what} is empty",
                allowed="every caption has a text",
                to_do="fill it or delete its row",
            )
        return text

    def _not(self, kind: str) -> InputError:
        names = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number"}
        is_word = self.value is None or isinstance(self.value, bool)
        is_what = (
            json.dumps(self.value) if is_word else names.get(type(self.value), type(self.value).__name__)
        )
        return wrong(self.path, f"{self.what} is {is_what}", allowed=f"it must be {kind}")


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def json_lines(text: str, path: Path) -> Iterator[Json]:
    """One value per line, called by the number of its line; blank lines are left out. Raises InputError."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Json.parse(line, path, f"line {number}")


class _RepeatedKey(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _RepeatedKey(counts.most_common(1)[0][0])
    return members
