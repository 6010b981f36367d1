"""Every data set is listed with its files, source and counts, and is loaded and checked by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.layouts import write_json, write_lists, write_msrvtt
from vtrcli.datasets.registry import DATASETS, SplitCheck, check_dataset, load_split
from vtrcli.errors import InputError, UsageError

BENCHMARKS = ("msrvtt-1ka", "msrvtt-7k", "msrvtt-full", "msvd", "lsmdc", "didemo", "activitynet")


def test_the_list_is_complete() -> None:
    assert tuple(DATASETS) == (*BENCHMARKS, "beir", "csv", "jsonl")
    for name, info in DATASETS.items():
        assert info.name == name
        assert info.summary and info.files and info.source
        assert set(info.num_videos) == set(info.num_captions) <= set(info.splits)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_empty_folder_is_one_message_per_split(tmp_path: Path, name: str) -> None:
    for split in DATASETS[name].splits:
        with pytest.raises(InputError, match="holds no .*`vtr datasets list` says where researchers get it"):
            load_split(name, tmp_path, split)


def test_an_unknown_data_set_shows_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_split("msrvtt", tmp_path, "test")
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "no data set is called 'msrvtt'; one of msrvtt-1ka, msrvtt-7k, msrvtt-full, msvd, lsmdc, didemo, activitynet, "
        "beir, csv, jsonl; see `vtr datasets list`; captions of your own are read with csv or jsonl"
    )


def test_an_unknown_split_shows_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_split("msrvtt-1ka", tmp_path, "val")
    assert str(caught.value) == (
        "msrvtt-1ka has no split 'val'; its splits are train, test; choose one of them with --split"
    )


def test_a_check_counts_and_compares(tmp_path: Path) -> None:
    other = "not the counts of the published split: results cannot be compared"
    assert check_dataset("msrvtt-full", write_msrvtt(tmp_path)) == [
        SplitCheck("train", 2, 6513, 4, 130_260, other),
        SplitCheck("val", 2, 497, 4, 9940, other),
        SplitCheck("test", 3, 2990, 6, 59_800, other),
    ]


def test_a_check_goes_on_after_a_missing_file(tmp_path: Path) -> None:
    write_lists(tmp_path, val=["v"])
    write_json(tmp_path / "val_data.json", [{"video": "v", "description": "a", "times": [[0, 0]]}])
    train, val, test = check_dataset("didemo", tmp_path)
    assert (train.num_videos, val.num_videos, test.num_videos) == (None, 1, None)
    assert train.problem and train.problem.startswith(f"{tmp_path} holds no train_list.txt; ")


def test_a_check_of_ones_own_file_shows_the_splits_it_has(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("video_id,caption,split\nv,a,val\nv,b,val\n")
    assert check_dataset("csv", tmp_path) == [SplitCheck("val", 1, None, 2, None, None)]


def test_counts_that_are_not_known_are_not_compared(tmp_path: Path) -> None:
    row = "\t".join(["9001_F_00.00.01.500-00.00.04.250", "a", "b", "c", "d", "A sentence.\n"])
    (tmp_path / "LSMDC16_annos_val.csv").write_text(row)
    val = check_dataset("lsmdc", tmp_path)[1]
    assert val == SplitCheck("val", 1, None, 1, None, None)
