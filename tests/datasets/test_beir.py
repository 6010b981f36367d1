"""A BEIR folder as a data set: texts with several videos, rivals that nobody asks for, and what a folder may lack."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.ranking.runs import write_beir
from vtrcli.datasets.registry import check_dataset, load_split
from vtrcli.errors import InputError

TRUTH = {"q0": {"b": 1}, "q1": {"a": 2, "b": 1, "c": 0}}


def test_a_split_is_the_corpus_with_the_right_pairs(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", TRUTH, corpus=["a", "b", "c", "rival"])
    split = load_split("beir", folder, "test")
    assert split.video_ids == ("a", "b", "c", "rival")
    pairs = [(caption.caption_id, caption.video_id, caption.text) for caption in split.captions]
    assert pairs == [("q1", "a", "text of q1"), ("q0", "b", "text of q0"), ("q1", "b", "text of q1")]


def test_training_takes_the_videos_that_have_a_text(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", TRUTH, corpus=["a", "b", "c", "rival"])
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "train.tsv")
    assert load_split("beir", folder, "train").video_ids == ("a", "b")


def test_files_may_be_packed_and_the_second_split_called_dev(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", TRUTH)
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dev.tsv")
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert len(load_split("beir", folder, "val").captions) == 3


def test_the_splits_are_those_that_have_qrels(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", TRUTH)
    (row,) = check_dataset("beir", folder)
    assert (row.split, row.num_videos, row.num_captions, row.problem) == ("test", 3, 3, None)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_beir(tmp_path / "set", TRUTH)
    (folder / name).unlink()
    with pytest.raises(InputError) as caught:
        load_split("beir", folder, "test")
    assert str(caught.value) == (
        f"{folder} holds no {name} and no {name}.gz; this split is read from one of them; put it there; "
        "`vtr datasets list` says where researchers get it"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "q9\ta\t1",
            "it names 'q9', which queries.jsonl lacks; qrels of the queries and the corpus beside them; use",
        ),
        (
            "q0\tz\t1",
            "it names 'z', which corpus.jsonl lacks; qrels of the queries and the corpus beside them; use",
        ),
    ],
)
def test_qrels_of_another_release_are_refused(tmp_path: Path, line: str, message: str) -> None:
    folder = write_beir(tmp_path / "set", TRUTH)
    qrels = folder / "qrels" / "test.tsv"
    qrels.write_text(f"{qrels.read_text()}{line}\n")
    with pytest.raises(InputError) as caught:
        load_split("beir", folder, "test")
    assert str(caught.value).startswith(f"{qrels}: {message}")
