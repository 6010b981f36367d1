"""MSR-VTT in three protocols: 1k-A (9,000 / 1,000 videos), 7k (7,010 / 1,000) and the official full split.

1k-A and 7k test on the same 1,000 (video, sentence) pairs and have no validation split of their own: using
the test pairs to choose a checkpoint, as is often done, would be reading the answers.
"""

from __future__ import annotations

from pathlib import Path

from vtrcli.datasets.building import build_split, clean_text
from vtrcli.datasets.msrvtt_official import COMBINED, TEST, TRAIN_VAL, Official, read_official
from vtrcli.datasets.reading import each_once, find_file
from vtrcli.datasets.tables import read_table
from vtrcli.datasets.types import Split

PAIRS = "MSRVTT_JSFUSION_test.csv"
TRAIN_9K = "MSRVTT_train.9k.csv"
TRAIN_7K = "MSRVTT_train.7k.csv"

_OFFICIAL_NAMES = {"train": "train", "val": "validate", "test": "test"}


def load_1ka(folder: Path, split: str) -> Split:
    """1k-A, `train` (20 captions per video) or `test` (one sentence per video). Raises InputError."""
    return _test_pairs(folder) if split == "test" else _listed_train(folder, TRAIN_9K, TRAIN_VAL, TEST)


def load_7k(folder: Path, split: str) -> Split:
    """The 7k protocol: the official train and validation videos, and the 1k-A pairs. Raises InputError."""
    return _test_pairs(folder) if split == "test" else _listed_train(folder, TRAIN_7K, TRAIN_VAL)


def load_full(folder: Path, split: str) -> Split:
    """The official splits, as the JSON's own `split` says; 20 captions per video. Raises InputError."""
    official = read_official(folder, TEST if split == "test" else TRAIN_VAL)
    wanted = _OFFICIAL_NAMES[split]
    video_ids = [video_id for video_id, name in official.split_of.items() if name == wanted]
    return _with_official_captions(split, video_ids, official.path, official)


def _listed_train(folder: Path, list_name: str, *parts: tuple[str, ...]) -> Split:
    path = find_file(folder, list_name)
    video_ids = each_once([row["video_id"] for _, row in read_table(path, required=("video_id",)).rows], path)
    return _with_official_captions("train", video_ids, path, read_official(folder, *parts))


def _with_official_captions(name: str, video_ids: list[str], listed_in: Path, official: Official) -> Split:
    return build_split(
        name,
        video_ids=video_ids,
        listed_in=listed_in,
        captions_of=official.captions,
        captions_in=official.path,
        categories=official.categories,
    )


def _test_pairs(folder: Path) -> Split:
    path = find_file(folder, PAIRS)
    rows = read_table(path, required=("video_id", "sentence")).rows
    texts = [clean_text(row["sentence"], path, f"the sentence of line {line}") for line, row in rows]
    video_ids = each_once([row["video_id"] for _, row in rows], path)
    # The pairs alone are enough for testing; with the official JSON beside them categories are known too.
    has_official = any((folder / name).exists() for name in (COMBINED, *TEST))
    return build_split(
        "test",
        video_ids=video_ids,
        listed_in=path,
        captions_of={video_id: [text] for video_id, text in zip(video_ids, texts, strict=True)},
        captions_in=path,
        categories=read_official(folder, TEST).categories if has_official else None,
    )
