"""A user's own captions: `csv` (captions.csv) and `jsonl` (captions.jsonl), one caption per row.

Columns or keys: `video_id`; `caption`, `sentence` or `text`; if wanted `split` (train, val, test) and `category`.
Without a split column every row belongs to `test` and to `train`, so that a small collection can be tried at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from vtrcli.datasets.files import (
    as_object,
    as_string,
    find_file,
    member,
    parse_json,
    read_table,
    read_text,
    wrong,
)
from vtrcli.datasets.split import Split, build_split, clean_text

Format = Literal["csv", "jsonl"]
FILES: dict[Format, str] = {"csv": "captions.csv", "jsonl": "captions.jsonl"}
SPLITS = ("train", "val", "test")
SPLITS_OF_UNSPLIT_ROWS = ("train", "test")
TEXT_KEYS = ("caption", "sentence", "text")


@dataclass(frozen=True, slots=True)
class _Row:
    video_id: str
    text: str
    splits: tuple[str, ...]
    category: str


class OwnCaptions:
    """A caption file, or the folder that holds it; read once, when a split is asked for.

    Raises:
        InputError: not readable, a wrong row, a video in two splits.
    """

    def __init__(self, annotations: Path, *, format: Format) -> None:
        self._annotations, self._format = annotations, format

    @cached_property
    def _read(self) -> tuple[Path, list[_Row]]:
        return _read(self._annotations, self._format)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have rows."""
        return _splits_of(self._read[1])

    def load(self, split: str) -> Split:
        """One split; videos in the order of their first row. Raises InputError when it has no row."""
        path, rows = self._read
        captions: dict[str, list[str]] = {}
        for row in rows:
            if split in row.splits:
                captions.setdefault(row.video_id, []).append(row.text)
        if not captions:
            raise wrong(
                path,
                f"no row belongs to the split {split}",
                allowed=f"it has rows of: {', '.join(_splits_of(rows)) or 'no split at all'}",
                to_do="choose another --split, or write the split into the column `split`",
            )
        return build_split(
            split,
            video_ids=list(captions),
            listed_in=path,
            captions_of=captions,
            captions_in=path,
            categories={row.video_id: row.category for row in rows if row.category},
        )


def _splits_of(rows: list[_Row]) -> tuple[str, ...]:
    found = {name for row in rows for name in row.splits}
    return tuple(name for name in SPLITS if name in found)


def _read(annotations: Path, format: Format) -> tuple[Path, list[_Row]]:
    path = find_file(annotations, FILES[format]) if annotations.is_dir() else annotations
    rows = _read_csv(path) if format == "csv" else _read_jsonl(path)
    splits: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if splits.setdefault(row.video_id, row.splits) != row.splits:
            raise wrong(
                path,
                f"the video {row.video_id} is in two splits",
                allowed="a video belongs to one split; else a model is tested on what it was trained on",
                to_do="give all rows of a video the same split",
            )
    return path, rows


def _read_csv(path: Path) -> list[_Row]:
    table = read_table(path, required=("video_id",))
    key = next((key for key in TEXT_KEYS if key in table.columns), None)
    if key is None:
        raise wrong(
            path,
            f"no column of captions among {', '.join(table.columns)}",
            allowed=f"captions stand in a column called {', '.join(TEXT_KEYS[:-1])} or {TEXT_KEYS[-1]}",
            to_do="rename the column",
        )
    return [_row(cells, key, path, f"line {line}") for line, cells in table.rows]


def _read_jsonl(path: Path) -> list[_Row]:
    rows: list[_Row] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        entry = as_object(parse_json(line, path, where), path, where)
        key = next((key for key in TEXT_KEYS if key in entry), TEXT_KEYS[0])
        rows.append(_row(entry, key, path, where))
    return rows


def _row(entry: Mapping[str, object], key: str, path: Path, where: str) -> _Row:
    video_id = as_string(member(entry, "video_id", path, where), path, f"'video_id' of {where}").strip()
    if not video_id:
        raise wrong(
            path, f"'video_id' of {where} is empty", allowed="every row names its video", to_do="fill it"
        )
    text = clean_text(member(entry, key, path, where), path, f"{key!r} of {where}")
    category = as_string(entry.get("category") or "", path, f"'category' of {where}").strip()
    return _Row(video_id, text, _row_splits(entry, path, where), category)


def _row_splits(entry: Mapping[str, object], path: Path, where: str) -> tuple[str, ...]:
    if "split" not in entry:
        return SPLITS_OF_UNSPLIT_ROWS
    split = as_string(entry["split"], path, f"'split' of {where}").strip()
    if split not in SPLITS:
        raise wrong(
            path, f"'split' of {where} is {split!r}", allowed="train, val or test", to_do="mend the row"
        )
    return (split,)
