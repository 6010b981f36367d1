"""A user's own captions: `csv` (captions.csv) and `jsonl` (captions.jsonl), one caption per row.

Columns or keys: `video_id`; `caption`, `sentence` or `text`; if wanted `split` (train, val, test) and `category`.
Without a split column every row belongs to `test` and to `train`, so that a small collection can be tried at once.

`jsonl` reads QVHighlights' layout too (`vid`, `query`, `relevant_windows`), as people's marks in `vtr serve` are kept:
a query is a caption of its video. Rows without a window are no captions of it and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from vtrcli.datasets.files import Json, find_file, json_lines, read_table, read_text, wrong
from vtrcli.datasets.split import DatasetInfo, Split, build_split

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
    names = {name for row in rows for name in row.splits}
    return tuple(name for name in SPLITS if name in names)


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
    return [_row(Json(cells, path, f"line {line}"), key) for line, cells in table.rows]


def _read_jsonl(path: Path) -> list[_Row]:
    rows: list[_Row] = []
    num_without = 0
    for entry in json_lines(read_text(path), path):
        if is_moment_row(entry):
            if entry.members().get("relevant_windows"):
                rows.append(_row(entry, "query", video_key="vid"))
            else:
                num_without += 1
            continue
        key = next((key for key in TEXT_KEYS if key in entry.members()), TEXT_KEYS[0])
        rows.append(_row(entry, key))
    if num_without and not rows:
        raise wrong(
            path,
            f"none of its {num_without:,} queries has a window",
            allowed="a query is a caption of its video where something of that answers it",
            to_do="mark something as right",
        )
    return rows


def is_moment_row(entry: Json) -> bool:
    """Whether a line is in QVHighlights' layout."""
    return "vid" in entry.members() and "video_id" not in entry.members()


def _row(entry: Json, key: str, *, video_key: str = "video_id") -> _Row:
    video_id = entry[video_key].string().strip()
    if not video_id:
        raise wrong(
            entry.path,
            f"{video_key!r} of {entry.what} is empty",
            allowed="every row names its video",
            to_do="fill it",
        )
    category = entry["category"].string().strip() if entry.members().get("category") else ""
    return _Row(video_id, entry[key].text(), _row_splits(entry), category)


def _row_splits(entry: Json) -> tuple[str, ...]:
    if "split" not in entry.members():
        return SPLITS_OF_UNSPLIT_ROWS
    split = entry["split"].string().strip()
    if split not in SPLITS:
        raise wrong(
            entry.path,
            f"'split' of {entry.what} is {split!r}",
            allowed="train, val or test",
            to_do="mend the row",
        )
    return (split,)


INFOS = (
    DatasetInfo(
        name="csv",
        summary="your own captions in a table",
        files=("captions.csv: video_id, caption, and if wanted split and category",),
        source="yourself; `vtr demo` writes one",
        splits=SPLITS,
        num_videos={},
        num_captions={},
    ),
    DatasetInfo(
        name="jsonl",
        summary="your own captions, one JSON object per line",
        files=(
            "captions.jsonl: video_id, caption, and if wanted split and category; or QVHighlights' layout",
        ),
        source="yourself",
        splits=SPLITS,
        num_videos={},
        num_captions={},
    ),
)
