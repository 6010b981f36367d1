"""Reads which video belongs to which text from a file. Checking the indices is `truth`'s work."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.truth import Truth
from vtrcli.text_files import decode_text

SUFFIXES = (".npy", ".json", ".csv", ".txt")


def read_text_to_video(path: Path, *, num_texts: int, num_videos: int) -> Truth:
    """The truth of `num_texts` texts among `num_videos` videos. Indices count from 0.

    - .npy: int [num_texts], the video of each text, or int [num_pairs, 2], pairs of text and video.
    - .json: one entry per text: an index, or a list of indices where several videos are right.
    - .csv, .txt: one line per text with the video's index, or lines `text,video`; a header line is skipped.

    Raises:
        InputError: missing, damaged, not whole numbers, out of range, or not one entry per text.
        UsageError: an unknown suffix.
    """
    path = Path(path)
    readers = {".npy": _from_npy, ".json": _from_json, ".csv": _from_lines, ".txt": _from_lines}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path}: a file of type {path.suffix or 'without suffix'}",
            allowed=f"a mapping is read from {', '.join(SUFFIXES)}",
            to_do="write one line per text with the index of its video, as .txt",
        )
    try:
        pairs = np.asarray(readers[path.suffix.lower()](path), dtype=np.int64).reshape(-1, 2)
    except (OSError, ValueError, OverflowError, EOFError, RecursionError) as cause:
        raise InputError(
            f"{path}: cannot be read: {' '.join(str(cause).split())[:200]}",
            allowed="a mapping holds whole numbers: the video of each text, or pairs of text and video",
            to_do="write one line per text with the index of its video, as .txt",
        ) from cause
    num_named = int(pairs[:, 0].max()) + 1 if len(pairs) else 0
    if num_named > num_texts:
        raise InputError(
            f"{path}: videos for {num_named} texts",
            allowed=f"the scores have {num_texts} texts (rows)",
            to_do="use the mapping that belongs to these scores",
        )
    return Truth.from_pairs(pairs, num_texts=num_texts, num_videos=num_videos)


def _from_npy(path: Path) -> Any:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise ValueError(f"it holds {getattr(array, 'dtype', 'several arrays')}, not whole numbers")
    if array.ndim == 1:
        return list(enumerate(array.tolist()))
    if array.ndim == 2 and array.shape[1] == 2:
        return array
    raise ValueError(f"its shape is {array.shape}")


def _from_json(path: Path) -> list[tuple[int, int]]:
    content = json.loads(decode_text(path.read_bytes(), name=str(path)))
    if not isinstance(content, list):
        raise ValueError("it is not a list")
    pairs = []
    for text, entry in enumerate(content):
        for video in entry if isinstance(entry, list) else [entry]:
            if type(video) is not int:
                raise ValueError(f"entry {text} is {video!r}")
            pairs.append((text, video))
    return pairs


def _from_lines(path: Path) -> list[tuple[int, int]]:
    lines = decode_text(path.read_bytes(), name=str(path)).splitlines()
    rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    if rows and not all(_is_whole(cell) for cell in rows[0]):
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if widths not in ({1}, {2}):
        raise ValueError(f"its lines hold {sorted(widths)} values")
    numbers = [[int(cell) for cell in row] for row in rows]
    if widths == {1}:
        return [(text, row[0]) for text, row in enumerate(numbers)]
    return [(row[0], row[1]) for row in numbers]


def _is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdigit()
