"""Truths of moments: both layouts, and every way in which a file can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.moments.made import predicted_row, truth_row, write_lines
from vtrcli.datasets.moments import Ragged, read_moment_truth
from vtrcli.errors import InputError


def test_qvhighlights_layout_with_saliency_of_every_clip(tmp_path: Path) -> None:
    row = truth_row(7, relevant_clip_ids=[5, 6], saliency_scores=[[1, 2, 3], [4, 4, 4]], duration=16)
    truth = read_moment_truth(write_lines(tmp_path / "t.jsonl", [row]))
    assert (truth.query_ids, truth.texts, truth.video_ids) == ((7,), ("a man cooks",), ("v1",))
    assert truth.windows[0].tolist() == [[10, 20]]
    assert truth.durations.tolist() == [16]
    assert truth.saliency is not None
    assert truth.saliency[0].tolist() == [[0, 0, 0]] * 5 + [[1, 2, 3], [4, 4, 4], [0, 0, 0]]
    assert truth.notes == ("1 window of the truth beyond the video: counted as given",)


def test_tvr_layout(tmp_path: Path) -> None:
    row = {
        "vid_name": "friends_01",
        "duration": 61.5,
        "ts": [16.5, 33.9],
        "desc": "Ross waits.",
        "desc_id": 9,
    }
    truth = read_moment_truth(write_lines(tmp_path / "t.jsonl", [row]))
    assert (truth.query_ids, truth.video_ids, truth.windows[0].tolist()) == (
        (9,),
        ("friends_01",),
        [[16.5, 33.9]],
    )
    assert truth.saliency is None


def test_a_missing_duration_is_not_known(tmp_path: Path) -> None:
    row = truth_row()
    del row["duration"]
    assert np.isnan(read_moment_truth(write_lines(tmp_path / "t.jsonl", [row])).durations).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"relevant_windows": [[20, 10]]},
            "window 1 of line 2 ends before it starts: 20 to 10; a window is [start, end] in seconds, the start first; "
            "mend the file; centre and width are not start and end",
        ),
        (
            {"relevant_windows": [[1, 2], [20, 20]]},
            "window 2 of line 2 is empty: 20 to 20; a window is [start, end] in seconds, the start first; "
            "mend the file; centre and width are not start and end",
        ),
        (
            {"relevant_windows": [[float("nan"), 20]]},
            "a window of line 2 holds NaN or infinity; a list of [start, end]",
        ),
        (
            {"relevant_windows": [["10", "20"]]},
            "the windows of line 2 hold text instead of numbers; a list of ",
        ),
        (
            {"relevant_windows": [[10, 20, 30]]},
            "the windows of line 2 are no list of [start, end]; a list of ",
        ),
        (
            {"relevant_windows": [[1, 2], [3]]},
            "the windows of line 2 are no list of [start, end]; a list of ",
        ),
        ({"relevant_windows": {"a": 1}}, "the windows of line 2 are no list of [start, end]; a list of "),
        ({"duration": "150"}, "'duration' of line 2 is '150'; seconds, a number above 0, up to 1,000,000; "),
        ({"duration": 0}, "'duration' of line 2 is 0.0; seconds, a number above 0, up to 1,000,000; "),
        ({"duration": 1e300}, "'duration' of line 2 is 1e+300; seconds, a number above 0, up to 1,000,000; "),
        (
            {"duration": float("nan")},
            "'duration' of line 2 is nan; seconds, a number above 0, up to 1,000,000; ",
        ),
        ({"qid": 1}, "1 query there twice: 1; each query once; delete the rows that are not meant"),
        ({"qid": "1"}, "1 query there twice: 1; each query once; delete the rows that are not meant"),
        ({"qid": 1.5}, "'qid' of line 2 is a number; it must be a string; "),
        ({"query": "  "}, "'query' of line 2 is empty; every caption has a text; "),
        (
            {"relevant_clip_ids": [1, 2], "saliency_scores": [[1, 2, 3]]},
            "'saliency_scores' of line 2 do not fit its 2 clips; one list of the annotators' scores per clip of ",
        ),
        (
            {"relevant_clip_ids": [1], "saliency_scores": [[1, 2]]},
            "'saliency_scores' of line 2 are not 3 finite numbers per clip; every clip is scored by the same number",
        ),
        (
            {"relevant_clip_ids": [1], "saliency_scores": [[1, 2, [3]]]},
            "'saliency_scores' of line 2 do not fit its 1 clips; one list of the annotators' scores",
        ),
        (
            {"relevant_clip_ids": [1], "saliency_scores": [[1] * 11]},
            "'saliency_scores' of line 2 have 11 scores per clip; one per annotator",
        ),
        (
            {"relevant_clip_ids": [-1], "saliency_scores": [[1, 2, 3]]},
            "a clip of line 2 has the number -1; clips of 2 s are numbered from 0; ",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    good = truth_row(1, relevant_clip_ids=[5], saliency_scores=[[1, 2, 3]])
    other = good | {"qid": 2} | changes
    path = write_lines(tmp_path / "t.jsonl", [good, other])
    with pytest.raises(InputError) as caught:
        read_moment_truth(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_key_that_lacks_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", [{"query": "a man", "vid": "v1"}])
    with pytest.raises(
        InputError, match="line 1 has no key 'qid'; it has 'query', 'vid', and must have 'qid'"
    ):
        read_moment_truth(path)


def test_a_truth_without_windows_is_refused_and_single_queries_without_are_left_out(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "test.jsonl", [truth_row(n, relevant_windows=[]) for n in range(3)])
    with pytest.raises(InputError) as caught:
        read_moment_truth(path)
    assert str(caught.value) == (
        f"{path}: none of its 3 queries has a window; a truth says which windows answer each query; take a split whose "
        "truth is published: that of QVHighlights' test split is not"
    )
    truth = read_moment_truth(write_lines(path, [truth_row(1), truth_row(2, relevant_windows=[])]))
    assert truth.query_ids == (1,)
    assert truth.notes == ("1 query of the truth without a window, left out: 2",)


def test_durations_that_differ_within_the_file_are_told(tmp_path: Path) -> None:
    truth = read_moment_truth(write_lines(tmp_path / "t.jsonl", [truth_row(1), truth_row(2, duration=120)]))
    assert truth.notes == (
        "1 video of another duration in the truth's rows (by more than 1 s): v1; is it the same cut?",
    )


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="no query in it; one query per line, with the windows that answer it"
    ):
        read_moment_truth(write_lines(tmp_path / "t.jsonl", []))


def test_rows_per_query_as_a_rectangle() -> None:
    rows = Ragged.of([np.array([1.0, 2, 3]), np.zeros(0), np.array([4.0])])
    filled, mask = rows.padded(2)
    assert (filled.tolist(), mask.tolist()) == (
        [[1, 2], [0, 0], [4, 0]],
        [[True, True], [False, False], [True, False]],
    )
    assert rows.chosen([2, 0]).values.tolist() == [4, 1, 2, 3]


def test_rows_are_filtered_and_numbered_query_by_query() -> None:
    rows = Ragged.of([np.array([[1.0], [2.0]]), np.zeros((0, 1)), np.array([[3.0]])], width=1)
    kept = rows.where(rows.values[:, 0] > 1)
    assert (kept.values[:, 0].tolist(), kept.counts.tolist()) == ([2, 3], [1, 0, 1])
    assert rows.numbered([7, 8, 9]).values.tolist() == [[7, 1], [7, 2], [9, 3]]


def test_one_long_query_among_many_asks_for_no_more_memory_than_there_is() -> None:
    rows = Ragged.of([np.zeros(1)] * 1000 + [np.zeros(1_000_000)])
    with pytest.raises(InputError, match="1,001 queries, one of them with 1,000,000 windows or clips; "):
        rows.padded()
    assert rows.padded(2)[0].shape == (1001, 2)


@pytest.mark.parametrize(
    ("name", "num_queries", "num_videos", "num_outside"),
    [
        ("qvhighlights_val", 1550, 1519, 0),
        pytest.param("charades_test", 3720, 1334, 0, marks=pytest.mark.slow),
        pytest.param("tacos_test", 4001, 25, 0, marks=pytest.mark.slow),
        pytest.param("activitynet_val", 17_505, 4917, 5, marks=pytest.mark.slow),
        pytest.param("tvr_val", 10_895, 2179, 0, marks=pytest.mark.slow),
    ],
)
def test_the_published_files(
    test_data: Path, name: str, num_queries: int, num_videos: int, num_outside: int
) -> None:
    truth = read_moment_truth(test_data / "moments" / f"{name}.jsonl")
    assert (len(truth), len(set(truth.video_ids))) == (num_queries, num_videos)
    assert (truth.saliency is not None) == (name == "qvhighlights_val")
    told = f"{num_outside} windows of the truth beyond the video: counted as given"
    assert truth.notes == ((told,) if num_outside else ())


def test_predictions_are_no_truth(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "p.jsonl", [predicted_row()])
    with pytest.raises(InputError) as caught:
        read_moment_truth(path)
    assert str(caught.value) == (
        f"{path}: it holds predictions; a truth has 'relevant_windows', or 'ts' in TVR's layout; "
        "give predictions to --moments, and the truth to --truth"
    )


def test_no_file_asks_for_more_clips_than_there_is_memory(tmp_path: Path) -> None:
    long = {"duration": 1_000_000, "relevant_clip_ids": [1], "saliency_scores": [[1, 2, 3]]}
    path = write_lines(tmp_path / "t.jsonl", [truth_row(number, **long) for number in range(41)])
    with pytest.raises(InputError, match="too many clips; 20,000,000 clips over all queries; "):
        read_moment_truth(path)
