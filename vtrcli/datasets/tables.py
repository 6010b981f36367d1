"""Small tables with a header: comma-, semicolon- or TAB-separated, any line ends, quoted cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtrcli.datasets.reading import read_text, wrong

DELIMITERS = (",", ";", "\t")


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
