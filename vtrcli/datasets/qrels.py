"""Which item is right for which query, by their ids, as information retrieval writes it down: TREC's qrels, BEIR's
`.tsv`, the JSON or parquet of ranx. Grades are kept as they are; where they are cut is the caller's decision.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtrcli.datasets.files import MAX_FILE_BYTES, Json, as_text, read_bytes, wrong
from vtrcli.errors import UsageError, brief

MAX_GRADE = 2**53  # beyond it floats are not whole numbers one by one
GZIP_MARK = b"\x1f\x8b"
# A header of BEIR's, and those that pandas' users write.
_HEADERS = (
    {"query-id", "corpus-id", "score"},
    {"query_id", "corpus_id", "score"},
    {"q_id", "doc_id", "score"},
)
_LAYOUT = "TREC's `query 0 item grade`, BEIR's `query item grade` in tabs, or ranx's {query: {item: grade}}"


@dataclass(frozen=True)
class Judgment:
    """One line: a grade of 1 or more is right, in most collections; 0 and below was looked at and is wrong."""

    query_id: str
    item_id: str
    grade: int


def read_qrels(path: Path) -> list[Judgment]:
    """All judgments of a file, in its order; `.gz` is unpacked. Layouts are told apart by suffix and columns.

    Raises:
        InputError: missing, damaged, no whole number as grade, or one pair with two grades.
        UsageError: parquet without pyarrow.
    """
    suffix = plain_suffix(path)
    if suffix in (".parquet", ".parq"):
        judgments = [
            Judgment(str(query), str(item), _grade(grade, path, f"of {query} and {item}"))
            for columns in parquet_columns(path)
            for query, item, grade in zip(*columns, strict=True)
        ]
    else:
        text = as_text(unpacked(path), path)
        judgments = list(_from_json(text, path) if suffix == ".json" else _from_lines(text, path))
    if not judgments:
        raise wrong(
            path, "no judgment at all", allowed="qrels name the right items of each query", to_do=_CHECK
        )
    grades: dict[tuple[str, str], int] = {}
    for judgment in judgments:
        known = grades.setdefault((judgment.query_id, judgment.item_id), judgment.grade)
        if known != judgment.grade:
            raise wrong(
                path,
                f"{judgment.item_id!r} has the grades {known} and {judgment.grade} for the query {judgment.query_id!r}",
                allowed="one grade per query and item",
                to_do="leave one of the two lines out",
            )
    return [Judgment(query, item, grade) for (query, item), grade in grades.items()]


_CHECK = "check that it is the file of the relevance judgments"


def plain_suffix(path: Path) -> str:
    """`.trec` of `run.trec` and of `run.trec.gz`, in lower case."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower()


def unpacked(path: Path) -> bytes:
    """The content of a file, unpacked where it is a gzip file, of at most `MAX_FILE_BYTES`. Raises InputError."""
    content = read_bytes(path)
    if not content.startswith(GZIP_MARK):
        return content
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as cause:
        raise wrong(
            path, f"cannot be unpacked: {cause}", allowed="a whole gzip file", to_do="get it again"
        ) from cause
    if len(content) > MAX_FILE_BYTES:
        raise wrong(
            path,
            "too large",
            allowed=f"at most {MAX_FILE_BYTES // 2**20} MiB, unpacked",
            to_do="split the file",
        )
    return content


def parquet_columns(path: Path) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
    """`q_id`, `doc_id` and `score` of a parquet file as ranx writes it, batch by batch.

    Raises:
        InputError: no such columns, or no parquet file.
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            f"{path}: a parquet file, and pyarrow is not installed",
            allowed="TREC and .json files are read without it",
            to_do='install it: pip install "vtrcli[parquet]"',
        ) from None
    names = ["q_id", "doc_id", "score"]
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if missing := [name for name in names if name not in file.schema_arrow.names]:
                raise wrong(
                    path,
                    f"no column {' and no '.join(missing)}",
                    allowed=f"the columns that ranx writes: {', '.join(names)}",
                    to_do="rename the columns",
                )
            for batch in file.iter_batches(columns=names):
                columns = [batch.column(name).to_pylist() for name in names]
                yield columns[0], columns[1], columns[2]
    except (OSError, pyarrow.ArrowException) as cause:
        raise wrong(
            path, f"cannot be read: {brief(cause)}", allowed="a whole parquet file", to_do="write it again"
        ) from cause


def _from_json(text: str, path: Path) -> Iterator[Judgment]:
    for query, items in json_tables(text, path):
        for item, grade in items.items():
            yield Judgment(query, item, _grade(grade, path, f"of {query} and {item}"))


def json_tables(text: str, path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """The queries of {query: {item: number}}. Raises InputError: no JSON, a key twice, or another shape."""
    tables = Json.parse(text, path).value
    if not isinstance(tables, dict) or not all(isinstance(items, dict) for items in tables.values()):
        raise wrong(
            path, "JSON of another shape", allowed="{query: {item: number}}, as ranx writes it", to_do=_AGAIN
        )
    return tables.items()


_AGAIN = "write it with ranx' `save`, or as TREC"


def _from_lines(text: str, path: Path) -> Iterator[Judgment]:
    first = True
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        # BEIR's ids may hold blanks: tabs are what separates where there are two.
        fields = [field.strip() for field in line.split("\t")] if line.count("\t") == 2 else line.split()
        if first and {field.lower() for field in fields} in _HEADERS:
            first = False
            continue
        first = False
        if len(fields) not in (3, 4):
            raise wrong(
                path,
                f"line {number} has {len(fields)} columns",
                allowed=_LAYOUT,
                to_do="that is a run: it goes with --trec"
                if len(fields) == 6
                else "mend the line, or check the file",
            )
        yield Judgment(fields[0], fields[-2], _grade(fields[-1], path, f"in line {number}"))


def _grade(value: Any, path: Path, where: str) -> int:
    try:
        grade = int(value)
        if grade != float(value) or abs(grade) > MAX_GRADE:
            raise ValueError
        return grade
    except (TypeError, ValueError, OverflowError):
        raise wrong(
            path,
            f"the grade {value!r} {where}",
            allowed="a grade is a whole number; 0 and below are wrong answers",
            to_do="write whole numbers",
        ) from None
