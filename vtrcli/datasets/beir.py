"""A BEIR folder: `corpus.jsonl` (what is ranked; here videos), `queries.jsonl` and `qrels/<split>.tsv`.

A query with several right videos is one text with several; a video that no query asks for is a rival, and no query
of the other direction. `RELEVANT_FROM` is where grades are cut when the folder is read as a data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vtrcli.datasets.files import Json, as_text, each_once, find_file, json_lines, wrong
from vtrcli.datasets.qrels import Judgment, read_qrels, unpacked
from vtrcli.datasets.split import Caption, DatasetInfo, Split

RELEVANT_FROM = 1
# BEIR's names of the splits by ours.
SPLITS = {"train": ("train",), "val": ("dev", "val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class BeirFolder:
    """`queries`: id -> text, in the order of the file; `item_ids` in that of the corpus."""

    item_ids: tuple[str, ...]
    queries: dict[str, str]
    judgments: list[Judgment]


def read_beir(folder: Path, split: str) -> BeirFolder:
    """All of one split.

    Raises:
        InputError: a file is missing or damaged, or the qrels name a query or item that the others lack.
    """
    corpus = _find(folder, "corpus.jsonl")
    texts = _find(folder, "queries.jsonl")
    qrels = _find(folder, *(f"qrels/{name}.tsv" for name in SPLITS.get(split, (split,))))
    items = each_once([row["_id"].string().strip() for row in _rows(corpus)], corpus)
    rows = [(row["_id"].string().strip(), row["text"].text()) for row in _rows(texts)]
    each_once([name for name, _ in rows], texts)
    queries, judgments = dict(rows), read_qrels(qrels)
    known = set(items)
    for judgment in judgments:
        lacking = (
            (texts, judgment.query_id) if judgment.query_id not in queries else (corpus, judgment.item_id)
        )
        if judgment.query_id not in queries or judgment.item_id not in known:
            raise wrong(
                qrels,
                f"it names {lacking[1]!r}, which {lacking[0].name} lacks",
                allowed="qrels of the queries and the corpus beside them",
                to_do="use the three files of one release",
            )
    return BeirFolder(tuple(items), queries, judgments)


def _find(folder: Path, *names: str) -> Path:
    return find_file(folder, *names, *(f"{name}.gz" for name in names))


def _rows(path: Path) -> list[Json]:
    return list(json_lines(as_text(unpacked(path), path), path))


def has_split(folder: Path, split: str) -> bool:
    """Whether there are qrels of it: few folders have all."""
    names = (folder / "qrels" / f"{name}.tsv" for name in SPLITS[split])
    return any(path.exists() or path.with_name(f"{path.name}.gz").exists() for path in names)


def load(folder: Path, split: str) -> Split:
    """One split; the captions of a query with several videos share its id. For training only videos that have one."""
    read = read_beir(folder, split)
    captions = [
        Caption(read.queries[judgment.query_id], judgment.item_id, judgment.query_id)
        for judgment in read.judgments
        if judgment.grade >= RELEVANT_FROM
    ]
    if not captions:
        raise wrong(
            folder,
            f"no query of {split} has a right answer",
            allowed=f"grades from {RELEVANT_FROM}",
            to_do="check the qrels",
        )
    place = {video_id: number for number, video_id in enumerate(read.item_ids)}
    captions.sort(key=lambda caption: place[caption.video_id])
    asked_for = dict.fromkeys(caption.video_id for caption in captions)
    return Split(split, tuple(asked_for) if split == "train" else read.item_ids, tuple(captions))


INFO = DatasetInfo(
    name="beir",
    summary="a folder in the layout of BEIR",
    files=(
        "corpus.jsonl: _id",
        "queries.jsonl: _id, text",
        "qrels/test.tsv, train.tsv, dev.tsv: query, item, grade",
    ),
    source="yourself",
    splits=tuple(SPLITS),
    num_videos={},
    num_captions={},
    load=load,
    has_split=has_split,
)
